"""Two judges on the same held-out pairs: paired differences with intervals that never have zero width.

`evidence` turns one judge's thinking answers into arrays, a row a pair and a column a presentation order;
`compare` takes two of them. Every difference is challenger minus other, turned so that above 0 is better, and a
macro average: the unweighted mean over the tasks, as a report's `overall`.

The interval is `models.evaluation.statistics.paired_interval`, which has a width where no pair differs, too.

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

from models.errors import DataError
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.statistics import Estimate, Floats, lean, paired_interval
from models.pairs.preference import Task
from models.verdict.grammar import Malformed
from models.verdict.parsing import parse_verdict


@dataclass(frozen=True)
class TaskEvidence:
    """One judge's thinking answers to one task's pairs; every array is (pairs, 2): as stored, and swapped.

    `right` and `valid` are 0 or 1; `brier` is from 0 to 1; `lean` is that of
    `models.evaluation.statistics`, of which the mean is the position bias.
    """

    pairs: tuple[str, ...]
    right: Floats
    valid: Floats
    brier: Floats
    lean: Floats


Evidence = Mapping[str, TaskEvidence]


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
        lean=array([[lean(row.preferred) for row in pair] for pair in table]),
    )


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
        accuracy=paired_interval(list(right.values())),
        tasks={task: paired_interval([differences]) for task, differences in right.items()},
        both_orders=paired_interval([a.right.min(axis=1) - b.right.min(axis=1) for a, b in both.values()]),
        calibration=paired_interval([(b.brier - a.brier).mean(axis=1) for a, b in both.values()]),
        position_bias=paired_interval([(sign_b * b.lean - sign_a * a.lean).mean(axis=1) for a, b in both.values()]),
        pairs=sum(len(one.pairs) for one in challenger.values()),
    )


def _macro(judge: Evidence, name: str) -> float:
    return float(np.mean([getattr(one, name).mean() for one in judge.values()]))
