"""Pairs are chosen by weights, seeded, and mixed, in whatever order they come."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError
from models.hygiene.dedup_record import DedupRecord
from models.hygiene.stratified import stratified
from models.pairs.preference import Task
from tests.models.hygiene.known_pairs import IMAGES, QUESTIONS, generation, lists_of_pairs, question


def pairs_of(**counts: int) -> list[DedupRecord]:
    return [generation(str(n), "a", "b", source=source) for source, count in counts.items() for n in range(count)]


def counted(pairs: list[DedupRecord]) -> dict[str, int]:
    return dict(Counter(one.source for one in pairs))


def test_a_task_is_shared_by_the_weights() -> None:
    found = stratified(pairs_of(x=100, y=100, z=100), {"x": 3, "y": 1, "z": 1}, per_task=50, seed=0)
    assert counted(found) == {"x": 30, "y": 10, "z": 10}


def test_what_a_source_lacks_is_shared_among_the_others_by_theirs() -> None:
    found = stratified(pairs_of(x=4, y=100, z=100), {"x": 3, "y": 2, "z": 1}, per_task=40, seed=0)
    assert counted(found) == {"x": 4, "y": 24, "z": 12}


def test_a_source_that_runs_short_only_after_sharing_gives_all_too() -> None:
    # 20 each at first; x lacks 18, so y and z are to give 29 each, and y has 25.
    found = stratified(pairs_of(x=2, y=25, z=100), {"x": 1, "y": 1, "z": 1}, per_task=60, seed=0)
    assert counted(found) == {"x": 2, "y": 25, "z": 33}


def test_fractions_go_to_the_larger_and_equal_places_to_the_name_that_sorts_first() -> None:
    pairs = pairs_of(x=99, y=99, z=99)
    weights = {"x": 5.0, "y": 3.0, "z": 2.0}
    assert counted(stratified(pairs, weights, per_task=7, seed=0)) == {"x": 4, "y": 2, "z": 1}  # 3.5, 2.1, 1.4
    assert counted(stratified(pairs, dict.fromkeys(weights, 1.0), per_task=1, seed=0)) == {"x": 1}


def test_each_task_is_shared_for_itself() -> None:
    pairs = [*pairs_of(x=50, y=50), *(question(f"q{n}", "a", source="x") for n in range(30))]
    found = stratified(pairs, {"x": 1, "y": 4}, per_task=20, seed=0)
    assert [one.task for one in found] == [IMAGES] * 20 + [QUESTIONS] * 20
    assert counted(found[:20]) == {"x": 4, "y": 16} and counted(found[20:]) == {"x": 20}


def test_without_a_total_all_are_taken_and_a_weight_of_0_takes_none() -> None:
    assert counted(stratified(pairs_of(x=5, y=7), {"x": 1, "y": 9}, per_task=None, seed=0)) == {"x": 5, "y": 7}
    assert counted(stratified(pairs_of(x=5, y=7), {"x": 1, "y": 0}, per_task=10, seed=0)) == {"x": 5}
    assert stratified([], {}, per_task=10, seed=0) == []


def test_the_first_of_a_task_are_a_stratified_sample_as_well() -> None:
    found = stratified(pairs_of(x=600, y=300, z=100), {"x": 6, "y": 3, "z": 1}, per_task=None, seed=0)
    for first in range(1, 1001):
        for source, share in (("x", 0.6), ("y", 0.3), ("z", 0.1)):
            there = sum(one.source == source for one in found[:first])
            assert abs(there - first * share) <= 0.5 + 3 / 2 * share


def test_the_seed_decides_which_and_in_what_order() -> None:
    pairs = pairs_of(x=100)
    one, other = (stratified(pairs, {"x": 1}, per_task=50, seed=seed) for seed in (1, 2))
    assert 10 < len(set(one) & set(other)) < 40
    assert one != sorted(one, key=lambda pair: int(pair.id))


def test_a_larger_total_begins_with_what_a_smaller_one_gives() -> None:
    pairs = pairs_of(x=10, y=1000)
    few, more, all_of_them = (stratified(pairs, {"x": 1, "y": 1}, per_task=count, seed=0) for count in (20, 60, None))
    assert counted(few) == {"x": 10, "y": 10}
    assert more[:20] == few and all_of_them[:60] == more


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match="the weight of source 'x' is"):
        stratified(pairs_of(x=1), {"x": weight}, per_task=1, seed=0)


def test_a_source_without_a_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"source 'y' has no weight among those of \['x'\]"):
        stratified(pairs_of(x=1, y=1), {"x": 1}, per_task=1, seed=0)


weights = st.fixed_dictionaries({"s": st.floats(0, 10), "t": st.floats(0, 10)})


@given(lists_of_pairs(30), weights, st.none() | st.integers(0, 20), st.integers(0, 3), st.randoms())
def test_another_order_of_the_pairs_gives_the_same(
    pairs: list[DedupRecord], weights: dict[str, float], per_task: int | None, seed: int, rng: random.Random
) -> None:
    found = stratified(pairs, weights, per_task=per_task, seed=seed)
    other = dict(reversed(weights.items()))
    assert stratified(rng.sample(pairs, len(pairs)), other, per_task=per_task, seed=seed) == found
    for task in Task:
        there = sum(one.task == task and weights[one.source] > 0 for one in pairs)
        assert sum(one.task == task for one in found) == (there if per_task is None else min(per_task, there))
