"""The interval of a paired difference that has a width whatever the pairs say.

It is the adjusted Wald interval of Bonett and Price (2012, Journal of Educational and Behavioral Statistics
37:479-488) for paired proportions: to the n differences of a task two made-up pairs are added, one of +1 and one of
-1, and the normal interval at 95 % is taken of all n + 2. On differences of whole pairs it is their formula; that of a
pair is here the mean over both its orders, which lies in the same range, so that the two answers to a pair are not
taken for independent. Where no pair differs it is as wide as that many pairs can tell: 23 points either way for 10
pairs, 0.7 for 400. A bootstrap interval has no width there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.959964  # two-sided 95 % of the normal distribution
MADE_UP = 2  # pairs added to each task: one of +1, one of -1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A difference with its 95 % interval; fractions from -1 to 1, above 0 is better."""

    mean: float
    low: float
    high: float


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
