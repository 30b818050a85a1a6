"""Judgments as rows, and what they say about a judge: accuracy with intervals, validity, consistency, bias.

A `JudgedRow` is one answer to one pair in one presentation order. `score` sums up one model's rows,
`paired_difference` compares two models on the pairs that both judged. Every share is a fraction from 0 to 1
and `None` where nothing was there to count: no share is ever a default.

Intervals are percentile bootstrap intervals at 95 % (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, section 13.3). What is resampled is the pair, with both its presentation orders, because the two answers
to one pair are not independent; strata are the tasks. Where every pair is right (or wrong) such an interval
would have no width; a share then has the Wilson score interval of its pairs, a difference that of
`models.evaluation.paired`.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.errors import DataError
from models.evaluation.paired import interval
from models.pairs.preference import PreferencePair, Preferred, Task
from models.verdict.grammar import Malformed, Mode
from models.verdict.lenient import parse_lenient
from models.verdict.parsing import parse_verdict

MODES: tuple[Mode, ...] = ("think", "direct")
REFUSED = "refused"  # begins the fault of a row that nothing was written for: an endpoint or a processor said no
QUANTILES = (0.025, 0.975)
Z = 1.959963984540054  # of the same interval under the normal distribution
DEGENERATE = 1e-9  # an interval narrower than this comes of resamples that are all alike
DRAWS_AT_ONCE = 4_000_000  # resampled indices in memory: 32 MB

Floats = NDArray[np.float64]
Scores = dict[str, Any]

_CHOICES: dict[str, Preferred] = {"1": 1, "2": 2, "tie": "tie"}
_SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("mode", pa.string(), nullable=False),
        pa.field("swapped", pa.bool_(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("preferred", pa.string()),
        pa.field("fault", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("sums_agree", pa.bool_(), nullable=False),
        pa.field("answer_agrees", pa.bool_(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True)
class JudgedRow:
    """One answer to one pair in one presentation order.

    `label` and `preferred` count the candidates as presented (after swapping, if `swapped`); `preferred` is
    `None` for a text that does not parse, and then `fault` names why and `position` (characters, else -1) where.
    `truncated` says that generation stopped at its length limit.
    """

    pair_id: str
    task: str
    group: str
    mode: Mode
    swapped: bool
    label: Preferred
    text: str
    preferred: Preferred | None
    fault: str
    position: int
    sums_agree: bool
    answer_agrees: bool
    truncated: bool

    @classmethod
    def read(
        cls, pair_presented: PreferencePair, mode: Mode, swapped: bool, text: str, truncated: bool, refused: str = ""
    ) -> Self:
        """The row for `text`, a judge's answer to a pair given in the order in which it was presented.

        `refused` is why there is no answer (`Judgment.refused`); its fault then is `refused: <why>`.
        """
        verdict = parse_verdict(text, pair_presented.task, mode=mode)
        broken = verdict if isinstance(verdict, Malformed) else None
        sound = None if isinstance(verdict, Malformed) else verdict
        return cls(
            pair_id=pair_presented.id,
            task=str(pair_presented.task),
            group=pair_presented.group,
            mode=mode,
            swapped=swapped,
            label=pair_presented.preferred,
            text=text,
            preferred=sound.preferred if sound else None,
            fault=f"{REFUSED}: {refused}" if refused else str(broken.reason) if broken else "",
            position=broken.position if broken and not refused else -1,
            sums_agree=sound is not None and sound.sums_agree,
            answer_agrees=sound is not None and sound.answer_agrees,
            truncated=truncated,
        )

    @property
    def parsed(self) -> bool:
        """Whether the text is a verdict at all."""
        return self.preferred is not None

    @cached_property
    def lenient(self) -> Preferred | None:
        """What the text prefers by a lenient reading (`models.verdict.lenient`), which has all that the grammar reads.

        `None` where no reading finds a clear answer.
        """
        if self.preferred is not None or self.task not in set(Task):
            return self.preferred
        verdict = parse_lenient(self.text, Task(self.task), mode=self.mode)
        return None if isinstance(verdict, Malformed) else verdict.preferred

    @property
    def refused(self) -> bool:
        """Whether nothing was written, since an endpoint or a processor refused the request."""
        return self.fault.startswith(REFUSED)

    @property
    def right(self) -> bool:
        """Whether the answer is the label. An unparsed text is wrong, and so is a tie where the label is none."""
        return self.preferred == self.label


@dataclass(frozen=True)
class Difference:
    """One judge's accuracy minus another's over `pairs` common pairs, with its 95 % interval; fractions."""

    mean: float
    low: float
    high: float
    pairs: int


def write_rows(path: Path, rows: Iterable[JudgedRow]) -> None:
    """Write rows as Parquet, aside and then into place. Rows are sorted, so equal rows give equal bytes."""
    ordered = sorted(rows, key=lambda row: (row.task, row.pair_id, row.mode, row.swapped, row.text))
    plain = [
        {**asdict(row), "label": str(row.label), "preferred": row.preferred and str(row.preferred)} for row in ordered
    ]
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(plain, schema=_SCHEMA), aside, compression="zstd")
    aside.replace(path)


def read_rows(path: Path) -> list[JudgedRow]:
    """The rows that `write_rows` wrote, in their sorted order."""
    table = pq.read_table(path, columns=[field.name for field in fields(JudgedRow)])
    return [
        JudgedRow(**{**row, "label": _CHOICES[row["label"]], "preferred": _CHOICES.get(row["preferred"])})
        for row in table.to_pylist()
    ]


def score(rows: Sequence[JudgedRow], *, bootstrap: int, seed: int) -> Scores:
    """Everything a report says of one model, as plain JSON.

    `think` and `direct` hold accuracies: `overall` and one a task, or nothing for a mode not judged. `overall` is
    the macro average: the unweighted mean over the tasks present, so that no task counts more for having
    more pairs. The other shares at the top are over all judgments together: `unparsed` of both modes,
    the rest of the thinking mode. `lenient` holds for each mode what a lenient reading of the same texts
    gives, and enters no other figure. `by_task`, `groups` and `counts` break both modes down, see `_measure`.

    `bootstrap` is the number of resamples. The result does not depend on the order of `rows`. Raises `DataError`
    for no rows at all and for two answers to one pair, mode and order.
    """
    _check(rows, bootstrap)
    scores: Scores = {"intervals": {}, "by_task": defaultdict(dict), "groups": defaultdict(dict), "counts": {}}
    scores["lenient"] = {}
    for mode in MODES:
        judged = [row for row in rows if row.mode == mode]
        accuracies, replicates = {}, {}
        parts: dict[str, list[tuple[float, int]]] = {"overall": []}
        for task, of_task in _by(judged, "task").items():
            measured, replicates[task] = _measure(of_task, mode, bootstrap, (seed, mode, task))
            scores["by_task"][task][mode] = measured
            accuracies[task] = measured["accuracy"]
            parts[task] = [(measured["accuracy"], measured["pairs"])]
            parts["overall"] += parts[task]
            for group, of_group in _by(of_task, "group").items():
                name = f"{task}/{group}"
                scores["groups"][name][mode] = _measure(of_group, mode, bootstrap, (seed, mode, name))[0]
        if judged:
            accuracies = {"overall": float(np.mean(list(accuracies.values()))), **accuracies}
            replicates = {"overall": np.mean(list(replicates.values()), axis=0), **replicates}
        scores[mode] = accuracies
        scores["intervals"][mode] = {
            name: list(share_interval(values, parts[name])) for name, values in replicates.items()
        }
        scores["counts"][mode] = _counts(judged)
        scores["lenient"][mode] = _lenient(judged)
    thinking = _shares([row for row in rows if row.mode == "think"], "think")
    shares = ("valid_rate", "both_orders", "position_bias", "sums_agree", "answer_agrees")
    unparsed = {"unparsed": _share(not row.parsed and not row.refused for row in rows)}
    plain = {"by_task": dict(scores["by_task"]), "groups": dict(scores["groups"])}
    return {**scores, **{name: thinking[name] for name in shares}, **unparsed, **plain}


def paired_difference(
    rows_a: Sequence[JudgedRow], rows_b: Sequence[JudgedRow], *, mode: Mode, bootstrap: int, seed: int
) -> Difference:
    """Accuracy of A minus accuracy of B on the pairs (and orders) that both judged; macro average over tasks.

    The differences pair by pair are resampled, so what both find hard widens nothing. Where every resample is alike,
    as for judges that agree on everything, the interval is that of `models.evaluation.paired`. Raises `DataError` if
    they have no pair in common.
    """
    _check(rows_a, bootstrap)
    _check(rows_b, bootstrap)
    right_b = {(row.task, row.pair_id, row.swapped): row.right for row in rows_b if row.mode == mode}
    gains: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in rows_a:
        key = (row.task, row.pair_id, row.swapped)
        if row.mode == mode and key in right_b:
            gains[row.task][row.pair_id].append(row.right - right_b[key])
    if not gains:
        raise DataError(f"the two judges have no pair in common in {mode} mode: judge both on the same pairs")
    means, replicates, differences = [], [], []
    for task in sorted(gains):
        values, weights = _per_pair(gains[task])
        differences.append(values / weights)
        means.append(values.sum() / weights.sum())
        replicates.append(_resample(values, weights, bootstrap, (seed, mode, task)))
    low, high = _interval(np.mean(replicates, axis=0))
    if high - low < DEGENERATE:
        wide = interval(differences)
        low, high = wide.low, wide.high
    return Difference(mean=float(np.mean(means)), low=low, high=high, pairs=sum(map(len, gains.values())))


def _check(rows: Sequence[JudgedRow], bootstrap: int) -> None:
    if bootstrap < 1:
        raise ValueError(f"bootstrap is {bootstrap}: give at least 1 resample, 1000 or more for usable intervals")
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


def _measure(
    rows: Sequence[JudgedRow], mode: Mode, bootstrap: int, name: tuple[int, str, str]
) -> tuple[Scores, Floats]:
    """Accuracy (share of judgments that are right) with its interval, the shares and the pairs; and the replicates."""
    hits: dict[str, list[int]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.pair_id, row.swapped)):
        hits[row.pair_id].append(row.right)
    values, weights = _per_pair(hits)
    replicates = _resample(values, weights, bootstrap, name)
    share = float(values.sum() / weights.sum())
    low, high = share_interval(replicates, [(share, len(hits))])
    accuracy = {"accuracy": share, "low": low, "high": high}
    return {**accuracy, **_shares(rows, mode), "pairs": len(hits)}, replicates


def _shares(rows: Sequence[JudgedRow], mode: Mode) -> Scores:
    """The shares of one mode's judgments.

    `both_orders`: pairs right in both orders, of the pairs judged in both. `position_bias`: the share that prefers
    the candidate presented first, of the judgments that prefer one, minus 0.5 (so -0.5 to 0.5; without bias 0 if
    pairs are judged in both orders). `sums_agree` and `answer_agrees`: of the parsed ones, thinking only.
    """
    orders: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows:
        orders[row.task, row.pair_id].append(row.right)
    parsed = [row for row in rows if row.parsed]
    first = _share(row.preferred == 1 for row in parsed if row.preferred != "tie")
    reasoned = parsed if mode == "think" else []
    return {
        "valid_rate": _share(row.parsed for row in rows),
        "unparsed": _share(not row.parsed and not row.refused for row in rows),
        "both_orders": _share(all(right) for right in orders.values() if len(right) == 2),
        "position_bias": None if first is None else first - 0.5,
        "sums_agree": _share(row.sums_agree for row in reasoned),
        "answer_agrees": _share(row.answer_agrees for row in reasoned),
    }


def _lenient(rows: Sequence[JudgedRow]) -> Scores:
    """Accuracy (macro average over tasks) and share of valid answers by a lenient reading, beside the strict ones."""
    tasks = _by(rows, "task").values()
    right = [_share(row.lenient == row.label for row in of_task) for of_task in tasks]
    return {
        "accuracy": float(np.mean([share for share in right if share is not None])) if right else None,
        "valid_rate": _share(row.lenient is not None for row in rows),
    }


def _share(flags: Iterable[bool]) -> float | None:
    values = list(flags)
    return sum(values) / len(values) if values else None


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


def _per_pair(judgments: Mapping[str, Sequence[int]]) -> tuple[Floats, Floats]:
    """For each pair, in order of its name, the sum over its judgments and their number."""
    ordered = [judgments[name] for name in sorted(judgments)]
    return np.array([sum(each) for each in ordered], float), np.array([len(each) for each in ordered], float)


def _resample(values: Floats, weights: Floats, bootstrap: int, name: tuple[int, str, str]) -> Floats:
    """`bootstrap` replicates of sum(values) / sum(weights) over as many pairs drawn with replacement.

    The generator is seeded by the slice's name, so that no slice's interval depends on which others exist.
    """
    generator = np.random.default_rng([name[0], *f"{name[1]}/{name[2]}".encode()])
    at_once = max(1, DRAWS_AT_ONCE // len(values))
    replicates = []
    for start in range(0, bootstrap, at_once):
        drawn = generator.integers(len(values), size=(min(at_once, bootstrap - start), len(values)))
        replicates.append(values[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    return np.concatenate(replicates)


def wilson(share: float, pairs: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share over so many pairs (Wilson, JASA 22 (1927) 209-212).

    >>> low, high = wilson(1.0, 3)
    >>> round(low, 3), round(high, 3)
    (0.439, 1.0)
    """
    square = Z * Z / pairs
    middle = (share + square / 2) / (1 + square)
    half = (share * (1 - share) * square + square * square / 4) ** 0.5 / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(parts: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The interval of the unweighted mean of shares (each with its pairs) from their Wilson intervals.

    By variance recovery: Zou and Donner, Statistics in Medicine 27 (2008) 1693-1702, section 2.
    """
    mean = sum(share for share, _ in parts) / len(parts)
    ends = [(share, *wilson(share, pairs)) for share, pairs in parts]
    below = sum((share - low) ** 2 for share, low, _ in ends) ** 0.5 / len(parts)
    above = sum((high - share) ** 2 for share, _, high in ends) ** 0.5 / len(parts)
    return max(0.0, mean - below), min(1.0, mean + above)


def share_interval(replicates: Floats, parts: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The bootstrap interval of a mean of shares; `mean_interval` where every resample is alike, and tells nothing."""
    low, high = _interval(replicates)
    return mean_interval(parts) if high - low < DEGENERATE else (low, high)


def _interval(replicates: Floats) -> tuple[float, float]:
    low, high = np.quantile(replicates, QUANTILES)
    return float(low), float(high)
