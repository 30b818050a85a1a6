"""Ranking the candidates for one prompt with a pairwise judge, in far fewer comparisons than all pairs.

    ranking = rank(8, compare)  # at most 14 comparisons, of 28 pairs
    ranking.best, ranking.strengths[ranking.best], ranking.confident

The judge enters as a function from pairs of indices to, for each, the share of answers for the first: 1 where it wins
in both presentation orders, 0.5 where the pair is tied or the answer depends on the order, None where no answer is
valid, which counts for nothing. What it is given at once is one round, to be judged together.

Strengths are Bradley and Terry's (Biometrika 39, 1952): i beats j with probability 1 / (1 + exp(s_j - s_i)). A weak
prior keeps those of unbeaten candidates finite: each has played `VIRTUAL` games and won half of them against an
opponent of strength 0 (in place of the gamma prior of Caron and Doucet, J. Comput. Graph. Stat. 21, 2012).
The first round pairs everyone by lot. Each later round draws strengths from their posterior and asks about the best and
the next best that it has not met, as often as they come out on top (after top-two Thompson sampling: Russo, Operations
Research 68, 2020). So equals meet early on, and later comparisons gather at the top.

No pair is asked twice: a greedy judge would answer the same, and it would count as more evidence. Under Bradley-Terry
noise the numbers of wins over all pairs are sufficient, so no choice of fewer can name the best more often than
`round_robin`; what half of them loses under this and other noise is in docs/rewards.md.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pair = tuple[int, int]
Compare = Callable[[list[Pair]], Sequence[float | None]]

MAX_CANDIDATES = 32
ANSWERS = 2.0  # a comparison is one answer in each presentation order
VIRTUAL = 0.6  # games: a prior about as wide as a normal one with a standard deviation of 5 logits
DRAWS = 256  # from the posterior, for each round
NORMAL_95 = 1.959964  # half the width of a 95 % interval, in standard errors


@dataclass(frozen=True)
class StrengthEstimate:
    """A value with its 95 % interval (normal approximation, from the Hessian at the posterior's maximum)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairShare:
    """One pair that was asked about, and the share of answers for its first; None where none was valid."""

    first: int
    second: int
    share: float | None


@dataclass(frozen=True)
class Ranking:
    """Candidates from best to worst, and how sure that is. All but `order` and `comparisons` go by candidate.

    `strengths` are in logits, from their mean. `win_rates` are the chances to beat another candidate,
    all others alike: what a candidate's share of wins over all pairs is expected to be, whomever it has met.
    `confidence` is a lower bound of the probability that `best` is the strongest (see `_doubts`), 0 where nothing is
    known; `confident` is whether it is what was asked for.
    """

    order: tuple[int, ...]
    strengths: tuple[StrengthEstimate, ...]
    win_rates: tuple[StrengthEstimate, ...]
    comparisons: tuple[PairShare, ...]
    confidence: float
    confident: bool

    @property
    def best(self) -> int:
        """The index of the strongest candidate."""
        return self.order[0]


def rank(count: int, compare: Compare, *, confidence: float = 0.95, most: int | None = None, seed: int = 0) -> Ranking:
    """Ranks candidates 0 to `count` - 1 in adaptive rounds, until the leader is the best with `confidence`.

    At most `most` comparisons are made, by default `default_most(count)`; a `confidence` of 1 uses them all. The same
    `seed` and answers give the same ranking; what is equal is in an order drawn by the seed, so that no place in
    the list is favoured. Raises `ValueError` for fewer than 2 or more than `MAX_CANDIDATES` candidates, for a
    `confidence` outside (0.5, 1], and for answers that are no shares.
    """
    most = _checked(count, confidence, most)
    table = _Table(count, seed)
    while len(table.comparisons) < most:
        table.ask(table.next_round(most - len(table.comparisons)), compare)
        if confidence < 1 and table.sure(confidence):
            break
    return table.ranking(confidence)


def best_of(count: int, compare: Compare, *, confidence: float = 0.95, most: int | None = None, seed: int = 0) -> int:
    """The index of the best candidate: `rank` for who needs no more (best-of-N sampling)."""
    return rank(count, compare, confidence=confidence, most=most, seed=seed).best


def round_robin(count: int, compare: Compare, *, confidence: float = 0.95, seed: int = 0) -> Ranking:
    """Ranks by all pairs, asked about in one round. Raises as `rank` does."""
    _checked(count, confidence, None)
    table = _Table(count, seed)
    table.ask(table.open_pairs(), compare)
    return table.ranking(confidence)


def default_most(count: int) -> int:
    """Half of all pairs, but no more than 3 a candidate, and enough to connect all.

    >>> [default_most(count) for count in (2, 3, 4, 8, 16, 32)]
    [1, 2, 3, 14, 48, 96]
    """
    return max(count - 1, min(count * (count - 1) // 4, 3 * count))


def _checked(count: int, confidence: float, most: int | None) -> int:
    """How many comparisons may be made."""
    if count < 2:
        raise ValueError(f"{count} candidates cannot be ranked: give at least 2")
    if count > MAX_CANDIDATES:
        raise ValueError(f"{count} candidates are more than {MAX_CANDIDATES}: rank parts of them, then the parts' best")
    if not 0.5 < confidence <= 1:
        raise ValueError(f"confidence is {confidence}: give more than 0.5 and at most 1")
    if most is not None and most < 1:
        raise ValueError(f"most is {most}: allow at least 1 comparison, or None for {default_most(count)}")
    return min(default_most(count) if most is None else most, count * (count - 1) // 2)


class _Table:
    """What is known so far: who was asked about, who won, and the strengths that follow."""

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.random = np.random.default_rng(seed)
        self.lot: list[int] = self.random.permutation(count).tolist()  # a candidate's place where all else is equal
        self.wins: Floats = np.zeros((count, count))
        self.met = np.eye(count, dtype=bool)
        self.comparisons: list[PairShare] = []
        self.strengths, self.precision = _fit(self.wins, np.full(count, VIRTUAL))

    def open_pairs(self) -> list[Pair]:
        """The pairs not yet asked about; the lot decides which is first, as a judge might favour one place."""
        firsts, seconds = np.nonzero(~self.met)
        pairs = zip(firsts.tolist(), seconds.tolist(), strict=True)
        return [(one, other) for one, other in pairs if self.lot[one] < self.lot[other]]

    def next_round(self, room: int) -> list[Pair]:
        """The pairs to ask about next, at least one and at most `room`."""
        if not self.comparisons:
            drawn = sorted(range(self.count), key=self.lot.__getitem__)
            pairs = [(drawn[at], drawn[at + 1]) for at in range(0, self.count - 1, 2)]
            return (pairs + [(drawn[0], drawn[-1])] * (self.count % 2))[:room]
        times = self._top_two()
        ranked = sorted(
            self.open_pairs(),
            key=lambda pair: (-times[pair], -self.strengths[list(pair)].sum().round(6), [self.lot[at] for at in pair]),
        )
        size = min(room, max(1, self.count // 2))
        return [pair for pair in ranked[:size] if times[pair]] or ranked[:1]

    def _top_two(self) -> NDArray[np.int64]:
        """In how many draws from the posterior two are the best one and the next best that it has not met."""
        spread = np.linalg.cholesky(_inverse(self.precision))
        drawn = self.strengths + self.random.standard_normal((DRAWS, self.count)) @ spread.T
        first = drawn.argmax(axis=1)
        drawn[self.met[first]] = -np.inf
        second = drawn.argmax(axis=1)
        times = np.zeros((self.count, self.count), dtype=np.int64)
        some = np.isfinite(drawn.max(axis=1))
        np.add.at(times, (first[some], second[some]), 1)
        return times + times.T

    def ask(self, pairs: list[Pair], compare: Compare) -> None:
        """One round."""
        shares = list(compare(pairs))
        if len(shares) != len(pairs):
            raise ValueError(f"compare gave {len(shares)} answers for {len(pairs)} pairs: give one a pair")
        for (first, second), share in zip(pairs, shares, strict=True):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"compare gave {share} for the pair {(first, second)}: give a share in [0, 1] or None")
            self.comparisons.append(PairShare(first, second, share))
            self.met[first, second] = self.met[second, first] = True
            if share is not None:
                self.wins[first, second] += ANSWERS * share
                self.wins[second, first] += ANSWERS * (1 - share)
        self.strengths, self.precision = _fit(self.wins, np.full(self.count, VIRTUAL), self.strengths)

    def order(self) -> list[int]:
        """From strongest to weakest; those of equal strength by their wins over each other, then by lot."""
        strengths = self.strengths.round(6)
        over_equals = (self.wins * (strengths[:, None] == strengths)).sum(axis=1)
        return sorted(range(self.count), key=lambda at: (-strengths[at], -over_equals[at], self.lot[at]))

    def sure(self, confidence: float) -> bool:
        """Whether the leader is the best with this confidence. Looks at as few rivals as decide it."""
        doubt = 0.0
        for each in _doubts(self.wins, self.strengths, self.order()):
            doubt += each
            if doubt > 1 - confidence:
                return False
        return True

    def ranking(self, confidence: float) -> Ranking:
        """What is known, as a ranking."""
        order = self.order()
        covariance = _inverse(self.precision)
        reached = max(0.0, 1 - sum(_doubts(self.wins, self.strengths, order)))
        centred = np.eye(self.count) - 1 / self.count
        errors = np.sqrt(np.diag(centred @ covariance @ centred))
        return Ranking(
            order=tuple(order),
            strengths=tuple(
                StrengthEstimate(float(at), float(at - NORMAL_95 * error), float(at + NORMAL_95 * error))
                for at, error in zip(centred @ self.strengths, errors, strict=True)
            ),
            win_rates=_win_rates(self.strengths, covariance),
            comparisons=tuple(self.comparisons),
            confidence=reached,
            confident=reached >= confidence,
        )


def _fit(wins: Floats, virtual: Floats, start: Floats | None = None) -> tuple[Floats, Floats]:
    """The strengths of greatest posterior density, and the negative Hessian there.

    `wins[i, j]` are i's wins over j, `virtual` the games of the prior. The density is log-concave, so this is the point
    that the MM algorithm climbs to (Hunter, Annals of Statistics 32, 2004); Newton's method needs some 6 steps instead
    of hundreds, and the Hessian is wanted anyway. Steps are cut to 2 logits, as long ones can overshoot.
    """
    games, won = wins + wins.T, wins.sum(axis=1) + virtual / 2
    strengths = np.zeros(len(wins)) if start is None else start
    for _ in range(200):
        chances, virtually = _sigmoid(strengths[:, None] - strengths), _sigmoid(strengths)
        variance = games * chances * (1 - chances)
        precision = np.diag(variance.sum(axis=1) + virtual * virtually * (1 - virtually)) - variance
        slope = won - (games * chances).sum(axis=1) - virtual * virtually
        step: Floats = np.linalg.solve(precision, slope)
        longest = float(np.abs(step).max())
        strengths = strengths + step * min(1.0, 2 / max(longest, 1e-12))
        if longest < 1e-5:  # the error is of its square by now
            break
    return strengths, precision


def _doubts(wins: Floats, strengths: Floats, order: Sequence[int]) -> Iterator[float]:
    """For each rival of the leader, strongest first, the probability that it is the stronger; their sum bounds all.

    By the signed root of the likelihood ratio (Barndorff-Nielsen and Cox, Inference and Asymptotics, 1994)
    against a fit in which the two are one player. Standard errors from the Hessian would call an unbeaten
    leader the less certain the better it is, since the likelihood flattens out there (Hauck and Donner, JASA 72, 1977).
    """
    leader = order[0]
    free = _log_density(wins, np.full(len(wins), VIRTUAL), strengths)
    for rival in order[1:]:
        merge = np.delete(np.eye(len(wins)), rival, axis=1)
        merge[rival] = merge[leader]
        tied_wins, virtual = merge.T @ wins @ merge, merge.sum(axis=0) * VIRTUAL
        np.fill_diagonal(tied_wins, 0)
        tied, _ = _fit(tied_wins, virtual, np.delete(strengths, rival))
        even = -(wins[leader, rival] + wins[rival, leader]) * math.log(2)
        lost = free - _log_density(tied_wins, virtual, tied) - even
        yield 0.5 * math.erfc(math.sqrt(max(0.0, lost)))


def _log_density(wins: Floats, virtual: Floats, strengths: Floats) -> float:
    """The logarithm of likelihood times prior."""
    between = np.logaddexp(0, strengths - strengths[:, None])
    virtually = np.logaddexp(0, strengths) + np.logaddexp(0, -strengths)
    return -float((wins * between).sum() + (virtual / 2 * virtually).sum())


def _win_rates(strengths: Floats, covariance: Floats) -> tuple[StrengthEstimate, ...]:
    """Each one's chance to beat another; the interval by the delta method on the logit, so that it stays in [0, 1]."""
    others = len(strengths) - 1
    chances = _sigmoid(strengths[:, None] - strengths)
    rates = (chances.sum(axis=1) - 0.5) / others
    slopes = -chances * (1 - chances) / others
    np.fill_diagonal(slopes, 0)
    np.fill_diagonal(slopes, -slopes.sum(axis=1))
    spread = rates * (1 - rates)
    errors = np.sqrt(np.einsum("ij,jk,ik->i", slopes, covariance, slopes)) / spread
    logits = np.log(rates / (1 - rates))
    bounds = [_sigmoid(logits + side * NORMAL_95 * errors) for side in (-1, 1)]
    return tuple(StrengthEstimate(*map(float, row)) for row in zip(rates, *bounds, strict=True))


def _inverse(precision: Floats) -> Floats:
    return np.linalg.inv(precision).astype(np.float64, copy=False)


def _sigmoid(logits: Floats) -> Floats:
    chances: Floats = 0.5 * (1 + np.tanh(logits / 2))
    return chances
