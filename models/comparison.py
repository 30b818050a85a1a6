"""Two judges on the same held-out pairs: paired differences with intervals that never have zero width.

`evidence` turns one judge's thinking answers into arrays, a row a pair and a column a presentation order;
`compare` takes two of them. Every difference is challenger minus other, turned so that above 0 is better, and a
macro average: the unweighted mean over the tasks, as a report's `overall`.

The interval is the adjusted Wald interval of Bonett and Price (2012, Journal of Educational and Behavioral Statistics
37:479-488) for paired proportions: to the n differences of a task two made-up pairs are added, one of +1 and one of
-1, and the normal interval at 95 % is taken of all n + 2. On differences of whole pairs it is their formula; that of a
pair is here the mean over both its orders, which lies in the same range, so that the two answers to a pair are not
taken for independent. Where no pair differs it is as wide as that many pairs can tell: 23 points either way for 10
pairs, 0.7 for 400. A bootstrap interval has no width there.

Calibration is the Brier score (Brier 1950; Gneiting and Raftery 2007, section 3): the mean of (p - y)^2, where y says
whether the first candidate is preferred and p = 1 / (1 + exp(-d)) is what the scores imply, d being the first
candidate's mean score over the dimensions minus the second's. That is how the two rewards of a Bradley-Terry reward
model are read (Ouyang et al. 2022, section 3.4), with nothing fitted. A text that does not parse counts as wrong for
certain, 1: not answering never pays. So it is always a number from 0 to 1, and 0.25 for a judge that always writes
equal scores.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.preference import Task
from models.scores import JudgedRow
from models.verdict import Malformed, parse_verdict

Z = 1.959964  # two-sided 95 % of the normal distribution
MADE_UP = 2  # pairs added to each task: one of +1, one of -1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TaskEvidence:
    """One judge's thinking answers to one task's pairs; every array is (pairs, 2): as stored, and swapped.

    `right` and `valid` are 0 or 1; `brier` is from 0 to 1; `lean` is 0.5 where the candidate presented first is
    preferred, -0.5 where the second is, 0 for a tie and for what does not parse.
    """

    pairs: tuple[str, ...]
    right: Floats
    valid: Floats
    brier: Floats
    lean: Floats


Evidence = Mapping[str, TaskEvidence]


@dataclass(frozen=True)
class Estimate:
    """A difference with its 95 % interval; fractions from -1 to 1, above 0 is better."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Challenger against another judge on `pairs` pairs; above 0 the challenger is better.

    `calibration` is the other's Brier score minus the challenger's, `position_bias` the same of the biases' distances
    from 0. The interval of the latter takes the signs of the two biases as measured.
    """

    accuracy: Estimate
    tasks: Mapping[str, Estimate]
    both_orders: Estimate
    calibration: Estimate
    position_bias: Estimate
    pairs: int


def evidence(rows: Sequence[JudgedRow]) -> dict[str, TaskEvidence]:
    """The thinking answers among a judge's rows, by task. Raises `DataError` if a pair lacks one of its two orders."""
    answers: dict[str, dict[str, dict[bool, JudgedRow]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row.mode == "think":
            answers[row.task][row.pair_id][row.swapped] = row
    if not answers:
        raise DataError("there are no thinking answers to compare: judge at least one held-out pair")
    return {task: _of_task(task, answers[task]) for task in sorted(answers)}


def _of_task(task: str, answers: Mapping[str, Mapping[bool, JudgedRow]]) -> TaskEvidence:
    names = sorted(answers)
    if lacking := [name for name in names if len(answers[name]) != 2]:
        raise DataError(
            f"{len(lacking)} pairs of {task} are judged in one presentation order alone, {lacking[0]!r} first: "
            "judge both orders"
        )
    table = [[answers[name][swapped] for swapped in (False, True)] for name in names]

    def array(values: list[list[float]]) -> Floats:
        return np.array(values, dtype=np.float64)

    return TaskEvidence(
        pairs=tuple(names),
        right=array([[float(row.right) for row in pair] for pair in table]),
        valid=array([[float(row.parsed) for row in pair] for pair in table]),
        brier=array([[brier(row) for row in pair] for pair in table]),
        lean=array([[_lean(row) for row in pair] for pair in table]),
    )


def _lean(row: JudgedRow) -> float:
    return 0.5 if row.preferred == 1 else -0.5 if row.preferred == 2 else 0.0


def brier(row: JudgedRow) -> float:
    """The squared error of the probability that an answer's scores imply; 1 for a text that does not parse."""
    verdict = parse_verdict(row.text, Task(row.task), mode="think")
    if isinstance(verdict, Malformed):
        return 1.0
    gaps = [first - second for first, second in (dimension.scores for dimension in verdict.dimensions)]
    probability = 1 / (1 + math.exp(-sum(gaps) / len(gaps)))
    return float((probability - {1: 1.0, 2: 0.0, "tie": 0.5}[row.label]) ** 2)


def accuracy(judge: Evidence) -> float:
    """The share of answers that are right."""
    return _macro(judge, "right")


def valid_rate(judge: Evidence) -> float:
    """The share of answers inside the grammar, of all tasks together as in a report."""
    return float(np.concatenate([one.valid for one in judge.values()]).mean())


def both_orders(judge: Evidence) -> float:
    """The share of pairs right in both presentation orders, of all tasks together as in a report."""
    return float(np.concatenate([one.right for one in judge.values()]).min(axis=1).mean())


def compare(challenger: Evidence, other: Evidence) -> Comparison:
    """The challenger's differences from the other. Raises `DataError` unless both judged the same pairs."""
    if {task: one.pairs for task, one in challenger.items()} != {task: one.pairs for task, one in other.items()}:
        raise DataError("the two models were judged on other pairs: judge both on the same held-out pairs")
    both = {task: (ours, other[task]) for task, ours in challenger.items()}
    right = {task: (a.right - b.right).mean(axis=1) for task, (a, b) in both.items()}
    sign_a, sign_b = (math.copysign(1.0, _macro(judge, "lean")) for judge in (challenger, other))
    return Comparison(
        accuracy=interval(list(right.values())),
        tasks={task: interval([differences]) for task, differences in right.items()},
        both_orders=interval([a.right.min(axis=1) - b.right.min(axis=1) for a, b in both.values()]),
        calibration=interval([(b.brier - a.brier).mean(axis=1) for a, b in both.values()]),
        position_bias=interval([(sign_b * b.lean - sign_a * a.lean).mean(axis=1) for a, b in both.values()]),
        pairs=sum(len(one.pairs) for one in challenger.values()),
    )


def interval(by_task: Sequence[Floats]) -> Estimate:
    """The macro average of paired differences, each from -1 to 1, one array a task, with its 95 % interval.

    >>> nothing_differs = interval([np.zeros(10)])
    >>> round(nothing_differs.low, 2), nothing_differs.mean, round(nothing_differs.high, 2)
    (-0.23, 0.0, 0.23)
    """
    centre = variance = 0.0
    for differences in by_task:
        n = len(differences) + MADE_UP
        mean = differences.sum() / n
        centre += mean / len(by_task)
        variance += ((differences @ differences + MADE_UP) / n - mean**2) / n / len(by_task) ** 2
    half = Z * math.sqrt(variance)
    plain = float(np.mean([differences.mean() for differences in by_task]))
    return Estimate(mean=plain, low=max(-1.0, float(centre - half)), high=min(1.0, float(centre + half)))


def _macro(judge: Evidence, name: str) -> float:
    return float(np.mean([getattr(one, name).mean() for one in judge.values()]))
