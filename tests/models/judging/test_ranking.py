"""Ranking by few comparisons: simulated judges with a known best, what is refused, and what is said when nothing is."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.errors import DataError, MediaError
from models.judging.ranking import (
    MAX_CANDIDATES,
    VIRTUAL,
    Pair,
    Ranking,
    StrengthEstimate,
    _fit,
    best_of,
    default_most,
    rank,
    round_robin,
)
from models.judging.reward_model import RewardModel
from models.pairs.preference import Task
from tests.generators import FakeGenerator, brighter, more_x

Shares = dict[Pair, float | None]
Noise = Callable[[np.random.Generator, float], float]


def logistic(random: np.random.Generator, gap: float) -> float:
    """Bradley-Terry: each presentation order is answered on its own, more surely the wider the gap."""
    return float((random.random(2) < 1 / (1 + np.exp(-gap / 0.3))).mean())


def intransitive(random: np.random.Generator, gap: float) -> float:
    """A taste of its own for each pair, so that cycles occur; where gap and taste nearly cancel, the order decides."""
    felt = gap + random.normal(0, 0.5)
    return (float(felt > -0.2) + float(felt > 0.2)) / 2


def faultless(random: np.random.Generator, gap: float) -> float:
    return float(gap > 0)


def drawn(count: int, seed: int, noise: Noise) -> tuple[int, Shares]:
    """The true best of candidates with normal strengths, and what a judge says of each pair: always the same."""
    random = np.random.default_rng([seed, count])
    strengths = random.normal(size=count)
    pairs = combinations(range(count), 2)
    return int(strengths.argmax()), {(i, j): noise(random, strengths[i] - strengths[j]) for i, j in pairs}


class Judge:
    """Answers from shares, and remembers its rounds."""

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self.rounds: list[list[Pair]] = []

    def __call__(self, pairs: list[Pair]) -> list[float | None]:
        self.rounds.append(pairs)
        return [self.share(*pair) for pair in pairs]

    def share(self, first: int, second: int) -> float | None:
        if first < second:
            return self.shares[first, second]
        share = self.shares[second, first]
        return None if share is None else 1 - share


@dataclass(frozen=True)
class Group:
    """Eight candidates: the true best, what is said of each pair, and the rankings that follow."""

    best: int
    shares: Shares
    adaptive: Ranking
    whole: Ranking


@pytest.fixture(scope="module", params=[logistic, intransitive])
def groups(request: pytest.FixtureRequest) -> list[Group]:
    made = []
    for seed in range(160):
        best, shares = drawn(8, seed, request.param)
        adaptive, whole = rank(8, Judge(shares), seed=seed), round_robin(8, Judge(shares), seed=seed)
        made.append(Group(best, shares, adaptive, whole))
    return made


def test_half_the_pairs_find_the_best_about_as_often_as_all(groups: list[Group]) -> None:
    few = sum(one.adaptive.best == one.best for one in groups)
    every = sum(one.whole.best == one.best for one in groups)
    assert few >= 0.7 * len(groups)
    assert few >= every - 0.02 * len(
        groups
    )  # under such noise no choice of fewer can do better: models/judging/ranking.py
    assert max(len(one.adaptive.comparisons) for one in groups) <= 14
    assert {len(one.whole.comparisons) for one in groups} == {28}


def test_half_the_pairs_by_lot_find_it_less_often(groups: list[Group]) -> None:
    def by_lot(one: Group, seed: int) -> int:
        kept = {tuple(pair) for pair in np.random.default_rng(seed).permutation(sorted(one.shares))[:14].tolist()}
        return round_robin(8, Judge({pair: s if pair in kept else None for pair, s in one.shares.items()})).best

    few = sum(one.adaptive.best == one.best for one in groups)
    lots = sum(by_lot(one, seed) == one.best for seed, one in enumerate(groups))
    assert few >= lots + 0.03 * len(groups)


def test_confidence_is_no_more_than_deserved(groups: list[Group]) -> None:
    sure = [one for one in groups if one.adaptive.confidence >= 0.8]
    assert len(sure) >= 0.2 * len(groups)
    assert sum(one.adaptive.best == one.best for one in sure) >= 0.85 * len(sure)
    assert all(one.adaptive.confident == (one.adaptive.confidence >= 0.95) for one in groups)


def test_intervals_hold_the_strengths_they_estimate() -> None:
    random, held = np.random.default_rng(0), []
    for seed in range(60):
        strengths = random.normal(size=6)
        strengths -= strengths.mean()
        pairs = combinations(range(6), 2)
        shares: Shares = {(i, j): logistic(random, 0.3 * (strengths[i] - strengths[j])) for i, j in pairs}
        found = round_robin(6, Judge(shares), seed=seed)
        held += [one.low <= true <= one.high for one, true in zip(found.strengths, strengths, strict=True)]
        assert all(0 < one.low < one.value < one.high < 1 for one in found.win_rates)
    assert 0.9 <= np.mean(held) <= 0.995


def test_a_clear_leader_ends_it_early() -> None:
    shares: Shares = {pair: 1.0 if pair[0] == 0 else 0.5 for pair in combinations(range(8), 2)}
    found = rank(8, Judge(shares), confidence=0.8)
    assert (found.best, found.confident) == (0, True)
    assert len(found.comparisons) < 14
    assert not rank(8, Judge(shares), confidence=1.0).confident
    assert len(rank(8, Judge(shares), confidence=1.0).comparisons) == 14


def test_a_faultless_judge_gives_the_true_order_of_all_pairs() -> None:
    best, shares = drawn(9, 3, faultless)
    found = round_robin(9, Judge(shares))
    wins = [sum(Judge(shares).share(i, j) or 0 for j in range(9) if j != i) for i in range(9)]
    assert list(found.order) == sorted(range(9), key=lambda at: -wins[at])
    assert found.best == best


@pytest.mark.parametrize("count", [2, 3, 5, 8, 16, MAX_CANDIDATES])
def test_a_faultless_judge_shows_the_best_among_any_number(count: int) -> None:
    best, shares = drawn(count, count, faultless)
    judge = Judge(shares)
    found = rank(count, judge)
    assert found.best == best == best_of(count, judge)
    assert sorted(found.order) == list(range(count))
    assert {at for pair in judge.rounds[0] for at in pair} == set(range(count))  # everyone is seen at once
    asked = [frozenset((one.first, one.second)) for one in found.comparisons]
    assert len(asked) == len(set(asked)) <= default_most(count)


def test_comparisons_gather_at_the_top() -> None:
    asked = np.zeros(8)
    for seed in range(40):
        _, shares = drawn(8, seed, faultless)
        order = round_robin(8, Judge(shares)).order
        for one in rank(8, Judge(shares), seed=seed).comparisons:
            asked[[order.index(one.first), order.index(one.second)]] += 1
    assert asked[:2].mean() > 1.4 * asked[2:].mean()
    assert asked[0] / 40 > 5  # of 7 rivals


def test_the_same_seed_gives_the_same_ranking_and_another_asks_otherwise() -> None:
    _, shares = drawn(8, 1, logistic)
    assert rank(8, Judge(shares), seed=5) == rank(8, Judge(shares), seed=5)
    assert rank(8, Judge(shares), seed=5).comparisons != rank(8, Judge(shares), seed=6).comparisons


def test_no_place_in_the_list_is_favoured() -> None:
    """Neither by a judge that cannot tell, nor by one that always says the first of a pair."""
    for share in (0.5, 1.0):
        winners = [best_of(3, lambda pairs, said=share: [said] * len(pairs), seed=seed) for seed in range(240)]  # type: ignore[misc]
        assert all(55 <= winners.count(at) <= 105 for at in range(3))  # 80 +- 3.4 standard deviations


def test_no_valid_answer_at_all_is_said_honestly() -> None:
    found = rank(8, lambda pairs: [None] * len(pairs))
    assert (found.confident, found.confidence) == (False, 0.0)
    assert {one.value for one in found.strengths} == {0.0}
    assert {one.value for one in found.win_rates} == {0.5}
    assert len(found.comparisons) == 14
    assert {one.share for one in found.comparisons} == {None}


def test_a_pair_without_a_valid_answer_tells_nothing_and_the_others_count() -> None:
    best, shares = drawn(6, 2, faultless)
    whole = round_robin(6, Judge(shares))
    pair = (min(best, whole.order[2]), max(best, whole.order[2]))
    found = round_robin(6, Judge({**shares, pair: None}))
    assert found.best == whole.best == best
    assert found.confidence < whole.confidence
    assert width(found.strengths[best]) > width(whole.strengths[best])


def width(one: StrengthEstimate) -> float:
    return one.high - one.low


def test_equal_strengths_stand_by_their_wins_over_each_other() -> None:
    shares: Shares = {(0, 1): 1.0, (0, 2): 0.0, (0, 3): 1.0, (1, 2): 1.0, (1, 3): 1.0, (2, 3): 0.0}
    orders = {round_robin(4, Judge(shares), seed=seed).order for seed in range(10)}
    assert orders == {(0, 1, 3, 2)}


def test_strengths_are_those_of_the_mm_algorithm() -> None:
    """Hunter 2004, with the prior's opponent of strength 1 as one more player."""
    random = np.random.default_rng(4)
    wins = np.triu(random.integers(0, 3, (6, 6)), 1).astype(float)
    wins += np.tril(2 - wins.T, -1)
    strengths, _ = _fit(wins, np.full(6, VIRTUAL))
    weights, games = np.ones(6), wins + wins.T
    for _ in range(5000):
        expected = (games / (weights[:, None] + weights)).sum(axis=1) + VIRTUAL / (weights + 1)
        weights = (wins.sum(axis=1) + VIRTUAL / 2) / expected
    assert strengths == pytest.approx(np.log(weights), abs=1e-6)


def greys(*shades: int) -> list[Image.Image]:
    return [Image.new("RGB", (32, 32), (shade,) * 3) for shade in shades]


def test_a_reward_model_ranks_in_rounds_of_both_orders() -> None:
    generator = FakeGenerator(brighter)
    images = greys(40, 90, 10, 200, 70, 120, 30, 5)
    options: dict[str, Any] = {"task": "image_generation", "mode": "direct"}
    found = RewardModel(generator).rank("a light square", images, **options)
    assert found.order[:2] == (3, 5)
    assert len(generator.calls[0].conversations) == 8  # four pairs in both orders
    assert len(generator.conversations) == 2 * len(found.comparisons) <= 28
    assert RewardModel(generator).best_of("a light square", images, **options) == 3
    assert asyncio.run(RewardModel(generator).arank("a light square", images, **options)) == found


def test_answers_are_ranked_about_their_image() -> None:
    options: dict[str, Any] = {"task": Task.IMAGE_UNDERSTANDING, "media": greys(1), "mode": "direct"}
    assert RewardModel(FakeGenerator(more_x)).rank("How many?", ["x", "xxx", "xx"], most=3, **options).order == (
        1,
        2,
        0,
    )


def test_a_bad_candidate_is_named_before_any_is_judged() -> None:
    generator = FakeGenerator(brighter)
    model = RewardModel(generator)
    with pytest.raises(MediaError, match="candidate 2: cannot be decoded"):
        model.rank("a square", [*greys(1, 2), b"no picture"], task="image_generation")
    with pytest.raises(DataError, match="task 'image' is none of"):
        model.rank("a square", greys(1, 2), task="image")
    with pytest.raises(DataError, match="mode 'slowly' is none of"):
        model.rank("a square", greys(1, 2), task="image_generation", mode="slowly")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 candidates cannot be ranked"):
        model.best_of("a square", greys(1), task="image_generation")
    assert not generator.calls


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (1, {}, "1 candidates cannot be ranked: give at least 2"),
        (0, {}, "0 candidates cannot be ranked"),
        (33, {}, "33 candidates are more than 32"),
        (4, {"most": 0}, "most is 0: allow at least 1 comparison, or None for 3"),
        (4, {"confidence": 0.5}, "confidence is 0.5: give more than 0.5"),
        (4, {"confidence": 95}, "confidence is 95: give more than 0.5 and at most 1"),
    ],
)
def test_what_cannot_be_ranked_is_refused_before_any_is_judged(
    count: int, options: dict[str, float], message: str
) -> None:
    judge = Judge({})
    with pytest.raises(ValueError, match=message):
        rank(count, judge, **options)  # type: ignore[arg-type]
    assert judge.rounds == []


@pytest.mark.parametrize(
    ("answers", "message"),
    [([0.5], "1 answers for 2 pairs"), ([0.5, 1.5], "gave 1.5 for the pair"), ([float("nan"), 1], "gave nan")],
)
def test_answers_that_are_no_shares_are_refused(answers: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank(4, lambda pairs: answers)


def test_fewer_comparisons_than_candidates_may_be_asked_for() -> None:
    found = rank(8, lambda pairs: [1.0] * len(pairs), most=2)
    assert len(found.comparisons) == 2
    assert not found.confident
    assert len(rank(4, lambda pairs: [0.5] * len(pairs), most=99).comparisons) == 6
