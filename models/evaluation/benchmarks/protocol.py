"""The figures of one judge on one benchmark: accuracies by the protocol that docs/evaluation.md explains.

`measure` takes the rows of one mode, each pair in one order (see `presentation_orders`) or all in both, and gives plain
JSON. Every figure is `{"value", "low", "high", "pairs"}`: a share from 0 to 1, its 95 % interval and the pairs
behind it, or `None` where there was nothing to count. Its groups are the rows' own, which
readers set to the official ones.

- `diff` leaves out the pairs whose label is a tie; `tau` counts them, and a tie is right where the label is one and
  wrong elsewhere (pairwise accuracy as in arXiv 2305.14324, without its tie calibration: these judges say tie
  themselves). A judge that cannot say tie has no `tau`. Without ties this is C / (C + D + Tm) of the benchmark's own
  `calc_accuracy_without_ties` (KwaiVGI/VideoAlign): a tie said where the label is none is wrong.
- `overall` counts pairs, `macro` is the unweighted mean over groups (VL-RewardBench, arXiv 2411.17451). A pair without
  a group counts in `overall` alone.
- Text that does not parse is wrong. What was never asked, because a medium could not be decoded, is wrong under
  `strict` and not counted under `listed`; its ids are listed beside both.

The published scripts (CodeGoat24/UnifiedReward, benchmark_evaluation) differ: they look for the answer sentence
anywhere in the text, reasoning included; their swaps are unseeded or missing; and VideoGen-RewardBench's takes what it
cannot read for a tie.

Intervals are those of `models.evaluation.statistics`; those of `macro` resample within each group.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from models.errors import DataError
from models.evaluation.benchmarks.benchmark import Benchmark
from models.evaluation.judged_rows import REFUSED, JudgedRow
from models.evaluation.scores import Scores
from models.evaluation.statistics import (
    Floats,
    Hits,
    check_resamples,
    macro,
    position_bias,
    resample_counts,
    right_in_both,
    share_interval,
    share_of,
)
from models.pairs.preference import PreferencePair, Preferred, agree, swapped_preference

UNDECODABLE = "media"  # the fault of a row whose judge was never asked

Pair = tuple[JudgedRow, ...]  # the answers to one pair: one, or as stored and then swapped
Aspects = Mapping[str, Mapping[str, Preferred]]


def presentation_orders(pairs: Iterable[PreferencePair], seed: int) -> list[tuple[PreferencePair, bool]]:
    """Each pair in the order in which it is shown, and whether that is the swapped one.

    The order is drawn from the seed and the pair's id alone: another order of the list, or other pairs in it, change
    nothing. Published files are often sorted by label, so a judge must not see their order.
    """
    return [(pair.swapped(), True) if _is_swapped(pair.id, seed) else (pair, False) for pair in pairs]


def _is_swapped(pair_id: str, seed: int) -> bool:
    return hashlib.sha256(f"{seed}/{pair_id}".encode()).digest()[0] % 2 == 1


def measure(
    rows: Sequence[JudgedRow], *, bootstrap: int, seed: int, can_tie: bool, aspects: Aspects | None = None
) -> Scores:
    """Everything the report has on one judge on one benchmark in one mode, as plain JSON.

    `strict` and `listed` hold `diff`, `tau` (`None` unless `can_tie`) and `consistency`. `diff` and `tau` hold
    `overall`, `groups`, `macro` and `both_orders`, the pairs right in both. `consistency` is the share of pairs whose
    two answers name the same candidate, or say tie both times; one that does not parse names none. `position_bias` is
    that of `models.evaluation.statistics`. `unparsed` and `refused` (with the reasons) are of the
    answers that were asked for; `judged` are the pairs that were.

    `lenient` is what a lenient reading of the same texts gives (`models.verdict.lenient`): `overall` as that of
    `strict` and `diff`, and `valid`. It enters no other figure.

    `aspects` are further labels by pair id and name, as stored: the same answers are held against each, and pairs
    without that aspect are left out. `bootstrap` is the number of resamples. Nothing depends on the order of `rows`.
    Raises `DataError` for no rows, for several modes, and for pairs judged twice or in one order where others are in
    two.
    """
    check_resamples(bootstrap)
    pairs = by_pair(rows)
    lost = [pair for pair in pairs if _undecodable(pair)]
    asked = [row for row in rows if row.fault != UNDECODABLE]
    refused = [row for row in asked if row.refused]
    unparsed = sum(not row.parsed and not row.refused for row in asked)
    names = sorted({name for labels in (aspects or {}).values() for name in labels})
    return {
        "mode": rows[0].mode,
        "orders": len(pairs[0]),
        "pairs": len(pairs),
        "judgments": len(rows),
        "ties": sum(pair[0].label == "tie" for pair in pairs),
        **_both_ways(pairs, bootstrap, seed, can_tie),
        "position_bias": position_bias(row.preferred for row in asked),
        "unparsed": {"count": unparsed, "share": unparsed / len(asked) if asked else None},
        "lenient": _lenient(pairs, bootstrap, seed),
        "refused": {
            "count": len(refused),
            "share": len(refused) / len(asked) if asked else None,
            "reasons": dict(Counter(row.fault.removeprefix(f"{REFUSED}: ") for row in refused).most_common()),
        },
        "judged": len(pairs) - len(lost),
        "undecodable": {
            "count": len(lost),
            "share": len(lost) / len(pairs),
            "ids": [pair[0].pair_id for pair in lost],
        },
        "aspects": {
            name: _both_ways(_by_aspect(pairs, aspects or {}, name), bootstrap, seed, can_tie) for name in names
        },
    }


def paper(measured: Scores, benchmark: Benchmark) -> Scores:
    """The figure that the benchmark's own protocol asks for, `strict` and `listed`, beside `ours`.

    Its protocol says which pairs count (`ties`) and over what the mean is taken (`statistic`). Ours is always that of
    `strict`, ties left out, over pairs. Where both orders were judged, each figure is the mean of the two, which is
    what one random order has on average. A figure over ties is `None` for a judge that cannot say tie. A macro
    average needs all official groups: `missing_groups` names those without a pair.
    """
    statistic = "macro" if benchmark.macro else "overall"
    by_ties = {way: measured[way][benchmark.ties] for way in ("strict", "listed")}
    present = {group for way in by_ties.values() if way for group in way["groups"]}
    return {
        "ties": benchmark.ties,
        "statistic": statistic,
        **{way: found[statistic] if found else None for way, found in by_ties.items()},
        "ours": measured["strict"]["diff"]["overall"],
        "missing_groups": [group for group in benchmark.groups if group not in present],
    }


def by_pair(rows: Iterable[JudgedRow]) -> list[Pair]:
    """The answers pair by pair, sorted by id, as stored before swapped. Raises `DataError` for rows that do not fit."""
    found: dict[str, list[JudgedRow]] = defaultdict(list)
    for row in rows:
        found[row.pair_id].append(row)
    if not found:
        raise DataError("no judgments to measure: judge at least one pair of the benchmark")
    modes = {row.mode for answers in found.values() for row in answers}
    if len(modes) > 1:
        raise DataError(f"judgments of several modes ({', '.join(sorted(modes))}): measure each mode by itself")
    pairs = [tuple(sorted(found[name], key=lambda row: row.swapped)) for name in sorted(found)]
    for pair in pairs:
        _check(pair, orders=len(pairs[0]))
    return pairs


def order_flips(rows: Iterable[JudgedRow]) -> set[str]:
    """The ids of pairs whose two answers both parse and differ: the order alone changed the verdict."""
    pairs = by_pair(rows)
    return {pair[0].pair_id for pair in pairs if len(pair) == 2 and all(r.parsed for r in pair) and not _same(pair)}


def _check(pair: Pair, orders: int) -> None:
    name, swaps = pair[0].pair_id, [row.swapped for row in pair]
    if len(set(swaps)) < len(swaps):
        raise DataError(f"pair {name!r} has {len(pair)} judgments in the same order: give one an order (vote first)")
    if len(pair) != orders:
        raise DataError(f"pair {name!r} is judged in {len(pair)} orders, others in {orders}: judge all in as many")
    if len({(row.task, row.group) for row in pair}) > 1:
        raise DataError(f"pair {name!r} has two tasks or groups: ids must be unique in a benchmark")
    if orders == 2 and pair[0].label != swapped_preference(pair[1].label):
        labels = f"{pair[0].label} and, swapped, {pair[1].label}"
        raise DataError(f"pair {name!r} is labelled {labels}: a label turns with its candidates")


def _undecodable(pair: Pair) -> bool:
    return any(row.fault == UNDECODABLE for row in pair)


def _same(pair: Pair) -> bool:
    """Whether two answers that parse name the same candidate, or say tie both times."""
    first, second = (row.preferred for row in pair)
    return agree(first, second)


def _by_aspect(pairs: Iterable[Pair], aspects: Aspects, name: str) -> list[Pair]:
    """The pairs that have this aspect, labelled by it."""
    labelled = []
    for pair in pairs:
        stored = aspects.get(pair[0].pair_id, {}).get(name)
        if stored is not None:
            labelled.append(
                tuple(replace(row, label=swapped_preference(stored) if row.swapped else stored) for row in pair)
            )
    return labelled


def _both_ways(pairs: Sequence[Pair], bootstrap: int, seed: int, can_tie: bool) -> Scores:
    decoded = [pair for pair in pairs if not _undecodable(pair)]
    strict = _all_figures(pairs, bootstrap, seed, can_tie)
    nothing_lost = len(decoded) == len(pairs)
    return {"strict": strict, "listed": strict if nothing_lost else _all_figures(decoded, bootstrap, seed, can_tie)}


def _all_figures(pairs: Sequence[Pair], bootstrap: int, seed: int, can_tie: bool) -> Scores:
    agreeing = [(_same(pair), 1) for pair in pairs if len(pair) == 2]
    return {
        "diff": _accuracies([pair for pair in pairs if pair[0].label != "tie"], bootstrap, seed),
        "tau": _accuracies(pairs, bootstrap, seed) if can_tie else None,
        "consistency": _figure(agreeing, bootstrap, seed, "consistency")[0],
    }


def _lenient(pairs: Sequence[Pair], bootstrap: int, seed: int) -> Scores:
    """Of the same texts read leniently: accuracy over pairs without ties, and the share of answers that are valid."""
    decided = [pair for pair in pairs if pair[0].label != "tie"]
    hits = [(sum(row.lenient == row.label for row in pair), len(pair)) for pair in decided]
    asked = [row for pair in pairs for row in pair if row.fault != UNDECODABLE]
    valid = sum(row.lenient is not None for row in asked)
    return {
        "overall": _figure(hits, bootstrap, seed, "lenient")[0],
        "valid": {"count": valid, "share": valid / len(asked) if asked else None},
    }


def _accuracies(pairs: Sequence[Pair], bootstrap: int, seed: int) -> Scores:
    by_group: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for pair in pairs:
        if pair[0].group:
            by_group[pair[0].group].append(_hits(pair))
    of_groups = {name: _figure(by_group[name], bootstrap, seed, f"group/{name}") for name in sorted(by_group)}
    both = [(right, 1) for right in right_in_both([row.right for row in pair] for pair in pairs)]
    return {
        "overall": _figure([_hits(pair) for pair in pairs], bootstrap, seed, "overall")[0],
        "groups": {name: figure for name, (figure, _) in of_groups.items()},
        "macro": _macro(list(by_group.values()), [replicates for _, replicates in of_groups.values()]),
        "both_orders": _figure(both, bootstrap, seed, "both")[0],
    }


def _hits(pair: Pair) -> tuple[int, int]:
    """How many answers are right, of how many."""
    return sum(row.right for row in pair), len(pair)


def _figure(hits: Hits, bootstrap: int, seed: int, name: str) -> tuple[Scores | None, Floats]:
    """A share with its interval, and its replicates."""
    if not hits:
        return None, np.empty(0)
    replicates = resample_counts(hits, bootstrap, seed, name)
    value = share_of(hits)
    return _with_interval(value, replicates, [(value, len(hits))]), replicates


def _macro(groups: Sequence[Hits], replicates: Sequence[Floats]) -> Scores | None:
    if not groups:
        return None
    shares = [Fraction(sum(right for right, _ in hits), sum(answers for _, answers in hits)) for hits in groups]
    value = float(sum(shares) / len(shares))  # exact until here: no order of the groups changes a digit
    parts = [(float(share), len(hits)) for share, hits in zip(shares, groups, strict=True)]
    return _with_interval(value, macro(replicates), parts)


def _with_interval(value: float, replicates: Floats, parts: Sequence[tuple[float, int]]) -> Scores:
    low, high = share_interval(replicates, parts)
    return {"value": value, "low": low, "high": high, "pairs": sum(pairs for _, pairs in parts)}
