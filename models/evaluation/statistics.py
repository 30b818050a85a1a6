"""Statistics of judgments: shares with intervals, paired differences, both orders, position bias, exact tests.

The unit is the pair with both its presentation orders, because the two answers to one pair are not independent. `Hits`
hold for each pair how many of its answers are right (or, of two judges, how many more), of how many. Every share is a
fraction from 0 to 1 and `None` where nothing was there to count: no share is ever a default.

Intervals are percentile bootstrap intervals at 95 % (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
section 13.3). Strata, such as tasks or groups, are resampled each by itself; the mean of their replicates is the
replicate of their macro average. Where every resample is alike such an interval has no width, and says nothing of so
few pairs: a share then has the Wilson score interval of its pairs, a difference that of Bonett and Price.

The exact tests are scipy's. Ours are, with reason:

- the bootstrap: `scipy.stats.bootstrap` draws in another order, and reports that are kept hold the digits of this one;
- Wilson's interval: `scipy.stats.binomtest` takes a whole number of successes, but of pairs judged in both orders
  one may be half right;
- variance recovery and the interval of Bonett and Price: scipy has neither.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.pairs.preference import Preferred

QUANTILES = (0.025, 0.975)
Z = 1.959963984540054  # of the same interval under the normal distribution
Z_PAIRED = 1.959964  # the same to six places, which the decisions that are kept were made with
DEGENERATE = 1e-9  # an interval narrower than this comes of resamples that are all alike
DRAWS_AT_ONCE = 4_000_000  # resampled indices in memory: 32 MB
ADDED_PAIRS = 2  # to the differences of each task: one of +1, one of -1

Floats = NDArray[np.float64]
Hits = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Estimate:
    """A difference with its 95 % interval; fractions from -1 to 1, above 0 is better."""

    mean: float
    low: float
    high: float


def share(flags: Iterable[bool]) -> float | None:
    """The share of what is true."""
    values = list(flags)
    return sum(values) / len(values) if values else None


def share_of(hits: Hits) -> float:
    """The share of all answers that are right."""
    return sum(right for right, _ in hits) / sum(answers for _, answers in hits)


def right_in_both(pairs: Iterable[Sequence[bool]]) -> list[bool]:
    """Of each pair that is judged in both presentation orders, whether both answers are right.

    >>> right_in_both([(True, True), (True, False), (True,)])
    [True, False]
    """
    return [all(answers) for answers in pairs if len(answers) == 2]


def lean(preferred: Preferred | None) -> float:
    """Towards which position an answer leans: 0.5 to the candidate presented first, -0.5 to the second, 0 to neither.

    >>> [lean(answer) for answer in (1, 2, "tie", None)]
    [0.5, -0.5, 0.0, 0.0]
    """
    return 0.5 if preferred == 1 else -0.5 if preferred == 2 else 0.0


def position_bias(answers: Iterable[Preferred | None]) -> float | None:
    """The share of decided answers that prefer the candidate presented first, minus one half.

    So 0.5 for a judge that always says the first, -0.5 for always the second. Without bias it is 0 where every pair is
    judged in both orders; over one seeded order it also holds the chance of the draw. It is shown in points: +5.0 where
    55 % of the answers prefer the first.

    >>> position_bias([1, 1, 1, 2, "tie", None])
    0.25
    """
    first = share(answer == 1 for answer in answers if answer in (1, 2))
    return None if first is None else first - 0.5


def check_resamples(bootstrap: int) -> None:
    """Raises `ValueError` for a number of resamples that gives no interval."""
    if bootstrap < 1:
        raise ValueError(f"bootstrap is {bootstrap}: give at least 1 resample, 1000 or more for usable intervals")


def resample(hits: Hits, bootstrap: int, seed: int, name: str) -> Floats:
    """`bootstrap` replicates of `share_of` over as many pairs drawn with replacement, pair by pair.

    The generator is seeded by the name of what is resampled, so that no interval depends on which others exist. The
    replicates depend on the order of the pairs: sort them.
    """
    generator, table = _generator(seed, name), np.array(hits, float)
    at_once = max(1, DRAWS_AT_ONCE // len(table))
    replicates = []
    for start in range(0, bootstrap, at_once):
        drawn = generator.integers(len(table), size=(min(at_once, bootstrap - start), len(table)))
        replicates.append(table[:, 0][drawn].sum(axis=1) / table[:, 1][drawn].sum(axis=1))
    return np.concatenate(replicates)


def resample_counts(hits: Hits, bootstrap: int, seed: int, name: str) -> Floats:
    """Replicates of the same distribution as `resample` gives, for shares over very many pairs, in any order.

    Pairs with equal hits are alike, so a resample is drawn as how many of each kind it has: no time or memory for the
    pairs. `resample` remains for `evaluate`, whose kept reports hold the digits of its draws.
    """
    kinds = sorted(Counter(hits).items())
    counts = _generator(seed, name).multinomial(len(hits), [count / len(hits) for _, count in kinds], size=bootstrap)
    drawn = counts @ np.array([kind for kind, _ in kinds], float)
    replicates: Floats = drawn[:, 0] / drawn[:, 1]
    return replicates


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])


def macro(replicates: Sequence[Floats]) -> Floats:
    """The replicates of the unweighted mean over strata, from those of each."""
    mean: Floats = np.mean(replicates, axis=0)
    return mean


def share_interval(replicates: Floats, parts: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The bootstrap interval of a mean of shares, each with its pairs; `mean_interval` if all resamples are alike."""
    low, high = _percentiles(replicates)
    return mean_interval(parts) if high - low < DEGENERATE else (low, high)


def difference_interval(replicates: Floats, by_task: Sequence[Floats]) -> tuple[float, float]:
    """The bootstrap interval of a mean of paired differences; `paired_interval` where all resamples are alike."""
    low, high = _percentiles(replicates)
    if high - low >= DEGENERATE:
        return low, high
    wide = paired_interval(by_task)
    return wide.low, wide.high


def _percentiles(replicates: Floats) -> tuple[float, float]:
    low, high = np.quantile(replicates, QUANTILES)
    return float(low), float(high)


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


def paired_interval(by_task: Sequence[Floats]) -> Estimate:
    """The macro average of paired differences, each from -1 to 1, one array a task, with an interval that has a width.

    It is the adjusted Wald interval of Bonett and Price (2012, Journal of Educational and Behavioral Statistics
    37:479-488) for paired proportions: to the n differences of a task two made-up pairs are added, one of +1 and one of
    -1, and the normal interval at 95 % is taken of all n + 2. On differences of whole pairs it is their formula; that
    of a pair is here the mean over both its orders, which is in the same range. Where no pair differs it is as wide
    as that many pairs can tell: 23 points either way for 10 pairs, 0.7 for 400.

    >>> nothing_differs = paired_interval([np.zeros(10)])
    >>> round(nothing_differs.low, 2), nothing_differs.mean, round(nothing_differs.high, 2)
    (-0.23, 0.0, 0.23)
    """
    centre = variance = 0.0
    for differences in by_task:
        n = len(differences) + ADDED_PAIRS
        mean = differences.sum() / n
        centre += mean / len(by_task)
        variance += ((differences @ differences + ADDED_PAIRS) / n - mean**2) / n / len(by_task) ** 2
    half = Z_PAIRED * math.sqrt(variance)
    plain = float(np.mean([differences.mean() for differences in by_task]))
    return Estimate(mean=plain, low=max(-1.0, float(centre - half)), high=min(1.0, float(centre + half)))


def mcnemar_p(only_a: int, only_b: int) -> float:
    """The exact two-sided p-value of McNemar's test of the pairs that only A, and only B, gets right.

    McNemar, Psychometrika 12 (1947) 153-157; the exact form, a binomial test at one half: Fay, R Journal 2/1 (2010)
    53-58. Raises `ValueError` for a negative count.

    >>> round(mcnemar_p(1, 5), 5)
    0.21875
    """
    from scipy.stats import binomtest  # a second to import, and needed here alone

    if min(only_a, only_b) < 0:
        raise ValueError(f"counts of pairs are {only_a} and {only_b}: neither can be negative")
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def fisher_p(lost: int, near: int, others_lost: int, others: int) -> float:
    """The one-sided p-value of Fisher's exact test: that of `lost` or more of the `near`, were loss spread by chance.

    Fisher, The Design of Experiments (1935), chapter II.

    >>> round(fisher_p(3, 4, 0, 4), 4)  # 4 of the 56 ways to choose 3 of 8
    0.0714
    """
    from scipy.stats import fisher_exact

    table = [[lost, near - lost], [others_lost, others - others_lost]]
    return float(fisher_exact(table, alternative="greater").pvalue)
