"""Two judges on the pairs both judged, and one judge that votes over its own sampled answers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from models.errors import DataError
from models.evaluation.benchmarks.benchmark import Ties
from models.evaluation.benchmarks.protocol import by_pair
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.scores import Difference, paired_difference
from models.evaluation.statistics import mcnemar_p
from models.pairs.preference import Preferred
from models.verdict.grammar import Mode


@dataclass(frozen=True)
class McNemar:
    """The pairs that only one of two judges gets right, and the two-sided exact p-value that they could do as well."""

    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True)
class PairedTests:
    """Judge A against judge B over their common pairs: accuracy of A minus that of B, and McNemar's test."""

    difference: Difference
    mcnemar: McNemar


def compare(
    rows_a: Sequence[JudgedRow],
    rows_b: Sequence[JudgedRow],
    *,
    mode: Mode,
    bootstrap: int,
    seed: int,
    ties: Ties = "diff",
) -> PairedTests:
    """Both tests over the pairs and orders that both judges answered; `ties` as in the benchmarks' `protocol`.

    The difference is over pairs, whatever their task. McNemar's test wants one outcome a pair, since the two orders
    of a pair are not independent: a pair judged in both orders counts as right where both answers are. Raises
    `DataError` without a common pair, and where the judges were held against different labels.
    """
    of_a, of_b = (_answers(rows, mode, ties) for rows in (rows_a, rows_b))
    common = sorted(of_a.keys() & of_b.keys())
    if not common:
        raise DataError(f"the two judges have no pair in common in {mode} mode: judge both on the same pairs")
    for key in common:
        if of_a[key].label != of_b[key].label:
            labels = f"{of_a[key].label} and {of_b[key].label}"
            raise DataError(f"pair {key[0]!r} is labelled {labels}: compare judges on the same benchmark")
    a, b = ([replace(answers[key], task="") for key in common] for answers in (of_a, of_b))  # "": as of one task
    right_a, right_b = (_right(rows) for rows in (a, b))
    only_a = sum(right_a[name] and not right_b[name] for name in right_a)
    only_b = sum(right_b[name] and not right_a[name] for name in right_a)
    return PairedTests(
        difference=paired_difference(a, b, mode=mode, bootstrap=bootstrap, seed=seed),
        mcnemar=McNemar(only_a, only_b, mcnemar_p(only_a, only_b)),
    )


def vote(rows: Iterable[JudgedRow], k: int) -> list[JudgedRow]:
    """Vote@k: one row for each pair and order, the majority of its first `k` sampled answers.

    `rows` hold each pair's samples in the order in which they were drawn, as `Judge.judge(n=...)` gives them. Samples
    that do not parse do not vote; without any that parses the pair stays unparsed. Of answers with equally many votes
    the one given first wins. The row is the first sample with the winning answer, so its text is one the judge wrote.
    Raises `DataError` for a pair with fewer than `k` samples.
    """
    if k < 1:
        raise ValueError(f"k is {k}: a vote needs at least 1 answer")
    samples: dict[tuple[str, str, Mode, bool], list[JudgedRow]] = defaultdict(list)
    for row in rows:
        samples[row.task, row.pair_id, row.mode, row.swapped].append(row)
    for (_, name, _, _), drawn in samples.items():
        if len(drawn) < k:
            raise DataError(f"pair {name!r} has {len(drawn)} sampled answers, vote@{k} needs {k}: sample as many")
    return [_winner(drawn[:k]) for drawn in samples.values()]


def _winner(drawn: Sequence[JudgedRow]) -> JudgedRow:
    votes: Counter[Preferred] = Counter(row.preferred for row in drawn if row.preferred is not None)
    if not votes:
        return drawn[0]
    most = max(votes.values())
    return next(row for row in drawn if row.preferred is not None and votes[row.preferred] == most)


def _answers(rows: Sequence[JudgedRow], mode: Mode, ties: Ties) -> dict[tuple[str, bool], JudgedRow]:
    judged = [row for row in rows if row.mode == mode]
    pairs = by_pair(judged) if judged else []
    return {(row.pair_id, row.swapped): row for pair in pairs for row in pair if ties == "tau" or row.label != "tie"}


def _right(rows: Iterable[JudgedRow]) -> dict[str, bool]:
    right: dict[str, bool] = {}
    for row in rows:
        right[row.pair_id] = right.get(row.pair_id, True) and row.right
    return right
