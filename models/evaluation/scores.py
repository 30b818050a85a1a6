"""Figures of a judge from its judgments: accuracy with intervals, validity, consistency, bias.

`score` sums up one model's rows, `paired_difference` compares two models on the pairs that both judged. The figures
are those of `models.evaluation.statistics`; the strata of their intervals are the tasks and, of the macro average over
kinds, the kinds of each task (`models.evaluation.kinds`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.errors import DataError
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.kinds import Over, kind_name, strata
from models.evaluation.statistics import (
    Floats,
    check_resamples,
    difference_interval,
    macro,
    position_bias,
    resample,
    right_in_both,
    share,
    share_interval,
    share_of,
)
from models.pairs.preference import Task
from models.verdict.grammar import Mode

MODES: tuple[Mode, ...] = ("think", "direct")
KIND_FIGURES = ("accuracy", "low", "high", "pairs")

Scores = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One judge's accuracy minus another's over `pairs` common pairs, with its 95 % interval; fractions."""

    mean: float
    low: float
    high: float
    pairs: int


def score(rows: Sequence[JudgedRow], *, bootstrap: int, seed: int) -> Scores:
    """Everything a report has on one model, as plain JSON.

    `think` and `direct` hold accuracies: `overall` and one a task, or nothing for a mode not judged. `overall` is
    the macro average: the unweighted mean over the tasks present, so that no task counts more for having
    more pairs. The other shares at the top are over all judgments together: `unparsed` of both modes,
    the rest of the thinking mode. `lenient` holds for each mode what a lenient reading of the same texts
    gives, and enters no other figure. `by_task`, `groups` and `counts` break both modes down, see `_measure`.
    `macro` holds for each mode judged the unweighted mean over all kinds, `accuracy` with its `low` and `high`, and
    each kind's own figures, `kinds`; where there are no kinds it is that over tasks again (`over`).

    `bootstrap` is the number of resamples. The result does not depend on the order of `rows`. Raises `DataError`
    for no rows at all and for two answers to one pair, mode and order.
    """
    _check(rows, bootstrap)
    scores: Scores = {"intervals": {}, "by_task": defaultdict(dict), "groups": defaultdict(dict), "counts": {}}
    scores |= {"lenient": {}, "macro": {}}
    for mode in MODES:
        judged = [row for row in rows if row.mode == mode]
        accuracies, replicates, of_groups = {}, {}, {}
        parts: dict[str, list[tuple[float, int]]] = {"overall": []}
        for task, of_task in _by(judged, "task").items():
            measured, replicates[task] = _measure(of_task, mode, bootstrap, seed, f"{mode}/{task}")
            scores["by_task"][task][mode] = measured
            accuracies[task] = measured["accuracy"]
            parts[task] = [(measured["accuracy"], measured["pairs"])]
            parts["overall"] += parts[task]
            for group, of_group in _by(of_task, "group").items():
                name = kind_name(task, group)
                of_groups[name] = _measure(of_group, mode, bootstrap, seed, f"{mode}/{name}")
                scores["groups"][name][mode] = of_groups[name][0]
        if judged:
            of_tasks = {task: (scores["by_task"][task][mode], found) for task, found in replicates.items()}
            found = strata(judged)
            measured_strata = of_groups if found.over == "kinds" else of_tasks
            scores["macro"][mode] = _macro({name: measured_strata[name] for name in found.rows}, found.over)
            accuracies = {"overall": float(np.mean(list(accuracies.values()))), **accuracies}
            replicates = {"overall": macro(list(replicates.values())), **replicates}
        scores[mode] = accuracies
        scores["intervals"][mode] = {
            name: list(share_interval(values, parts[name])) for name, values in replicates.items()
        }
        scores["counts"][mode] = _counts(judged)
        scores["lenient"][mode] = _lenient(judged)
    thinking = _shares([row for row in rows if row.mode == "think"], "think")
    shares = ("valid_rate", "both_orders", "position_bias", "sums_agree", "answer_agrees", "totals_tie")
    unparsed = {"unparsed": share(not row.parsed and not row.refused for row in rows)}
    plain = {"by_task": dict(scores["by_task"]), "groups": dict(scores["groups"])}
    return {**scores, **{name: thinking[name] for name in shares}, **unparsed, **plain}


def paired_difference(
    rows_a: Sequence[JudgedRow],
    rows_b: Sequence[JudgedRow],
    *,
    mode: Mode,
    bootstrap: int,
    seed: int,
    over: Over = "tasks",
) -> Difference:
    """Accuracy of A minus accuracy of B on the pairs (and orders) that both judged; macro average over tasks.

    With `over` kinds it is the macro average over the kinds of these pairs, if they have any. The differences pair by
    pair are resampled within each task or kind, so what both find hard widens nothing. Where every resample is alike,
    as for judges that agree on everything, the interval is `paired_interval`. Raises `DataError` if they have no pair
    in common.
    """
    _check(rows_a, bootstrap)
    _check(rows_b, bootstrap)
    right_b = {(row.task, row.pair_id, row.swapped): row.right for row in rows_b if row.mode == mode}
    common = [row for row in rows_a if row.mode == mode and (row.task, row.pair_id, row.swapped) in right_b]
    if not common:
        raise DataError(f"the two judges have no pair in common in {mode} mode: judge both on the same pairs")
    counted = _by(common, "task") if over == "tasks" else strata(common).rows
    means, replicates, differences = [], [], []
    for name in sorted(counted):
        gains: dict[str, list[int]] = defaultdict(list)
        for row in counted[name]:
            gains[row.pair_id].append(row.right - right_b[row.task, row.pair_id, row.swapped])
        hits = _hits(gains)
        differences.append(np.array([gained / answers for gained, answers in hits]))
        means.append(share_of(hits))
        replicates.append(resample(hits, bootstrap, seed, f"{mode}/{name}"))
    low, high = difference_interval(macro(replicates), differences)
    return Difference(mean=float(np.mean(means)), low=low, high=high, pairs=sum(map(len, differences)))


def _check(rows: Sequence[JudgedRow], bootstrap: int) -> None:
    check_resamples(bootstrap)
    if not rows:
        raise DataError("no judgments to score: judge at least one pair")
    times = Counter((row.task, row.pair_id, row.mode, row.swapped) for row in rows)
    (task, pair_id, mode, swapped), most = times.most_common(1)[0]
    if most > 1:
        order = "swapped" if swapped else "as stored"
        raise DataError(f"{task} pair {pair_id!r} ({mode}, {order}) has {most} judgments: give one an order and mode")


def _by(rows: Iterable[JudgedRow], name: str) -> dict[str, list[JudgedRow]]:
    """Rows by the value of a field: tasks in the order of `Task` and unknown ones last, all else by name."""
    place = {str(task): number for number, task in enumerate(Task)}
    parts: dict[str, list[JudgedRow]] = defaultdict(list)
    for row in rows:
        parts[getattr(row, name)].append(row)
    return {key: parts[key] for key in sorted(parts, key=lambda key: (place.get(key, len(place)), key))}


def _measure(rows: Sequence[JudgedRow], mode: Mode, bootstrap: int, seed: int, name: str) -> tuple[Scores, Floats]:
    """Accuracy (share of judgments that are right) with its interval, the shares and the pairs; and the replicates."""
    right: dict[str, list[int]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.pair_id, row.swapped)):
        right[row.pair_id].append(row.right)
    hits = _hits(right)
    replicates = resample(hits, bootstrap, seed, name)
    low, high = share_interval(replicates, [(share_of(hits), len(hits))])
    accuracy = {"accuracy": share_of(hits), "low": low, "high": high}
    return {**accuracy, **_shares(rows, mode), "pairs": len(hits)}, replicates


def _macro(measured: Mapping[str, tuple[Scores, Floats]], over: Over) -> Scores:
    """The unweighted mean over kinds (or tasks) with its interval, and the kinds' own figures by name."""
    figures = {name: figure for name, (figure, _) in measured.items()}
    replicates = macro([found for _, found in measured.values()])
    low, high = share_interval(replicates, [(one["accuracy"], one["pairs"]) for one in figures.values()])
    kinds = {name: {key: one[key] for key in KIND_FIGURES} for name, one in figures.items()} if over == "kinds" else {}
    accuracy = float(np.mean([one["accuracy"] for one in figures.values()]))
    return {"over": over, "accuracy": accuracy, "low": low, "high": high, "kinds": kinds}


def _hits(judgments: Mapping[str, Sequence[int]]) -> list[tuple[int, int]]:
    """For each pair, in order of its name, the sum over its judgments and their number."""
    return [(sum(judgments[name]), len(judgments[name])) for name in sorted(judgments)]


def _shares(rows: Sequence[JudgedRow], mode: Mode) -> Scores:
    """The shares of one mode's judgments.

    `both_orders`: pairs right in both orders, of the pairs judged in both. `position_bias`: see there. `sums_agree`,
    `answer_agrees` and `totals_tie`: of the parsed ones, thinking only.
    """
    orders: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows:
        orders[row.task, row.pair_id].append(row.right)
    reasoned = [row for row in rows if row.parsed and mode == "think"]
    return {
        "valid_rate": share(row.parsed for row in rows),
        "unparsed": share(not row.parsed and not row.refused for row in rows),
        "both_orders": share(right_in_both(orders.values())),
        "position_bias": position_bias(row.preferred for row in rows),
        "sums_agree": share(row.sums_agree for row in reasoned),
        "answer_agrees": share(row.answer_agrees for row in reasoned),
        "totals_tie": share(row.totals_tie for row in reasoned),
    }


def _lenient(rows: Sequence[JudgedRow]) -> Scores:
    """Accuracy (macro average over tasks) and share of valid answers by a lenient reading, beside the strict ones."""
    tasks = _by(rows, "task").values()
    right = [share(row.lenient == row.label for row in of_task) for of_task in tasks]
    return {
        "accuracy": float(np.mean([found for found in right if found is not None])) if right else None,
        "valid_rate": share(row.lenient is not None for row in rows),
    }


def _counts(rows: Sequence[JudgedRow]) -> Scores:
    return {
        "pairs": len({(row.task, row.pair_id) for row in rows}),
        "judgments": len(rows),
        "parsed": sum(row.parsed for row in rows),
        "refused": sum(row.refused for row in rows),
        "right": sum(row.right for row in rows),
        "ties": sum(row.preferred == "tie" for row in rows),
        "truncated": sum(row.truncated for row in rows),
        "faults": dict(sorted(Counter(row.fault for row in rows if row.fault).items())),
    }
