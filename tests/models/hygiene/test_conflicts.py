"""The same pair with opposite labels is found, and dropped or kept by rule."""

import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.hygiene.conflicts import ResolvedConflicts, Rule, settle_conflicts
from models.hygiene.dedup_record import DedupRecord
from models.hygiene.removal import RemovedPair
from tests.models.hygiene.known_pairs import generation, lists_of_pairs, question

RULES: tuple[Rule, ...] = get_args(Rule)


def kept(settled: ResolvedConflicts) -> list[str]:
    return [one.id for one in settled.kept]


@pytest.mark.parametrize(("rule", "stays"), [("drop", ["5"]), ("majority", ["1", "3", "5"]), ("keep", list("1235"))])
def test_each_rule_keeps_its_own(rule: Rule, stays: list[str]) -> None:
    pairs = [
        generation("1", "a", "b", 1),
        generation("2", "a", "b", 2),
        generation("3", "b", "a", 2),  # says as 1 does
        generation("5", "a", "c", 2),
    ]
    found = settle_conflicts(pairs, rule)
    assert kept(found) == stays
    assert [[(one.pair.id, one.label) for one in each.members] for each in found.conflicts] == [
        [("1", 1), ("2", 2), ("3", 1)]
    ]


@pytest.mark.parametrize(
    "labels",
    [(1, 2), (1, "tie"), (1, 1, 2, 2), (1, 2, "tie")],
)
def test_a_majority_with_equal_votes_drops_all(labels: tuple[int | str, ...]) -> None:
    pairs = [question(str(n), "a", label=label) for n, label in enumerate(labels)]  # type: ignore[arg-type]
    found = settle_conflicts(pairs, "majority")
    assert found.kept == [] and found.conflicts[0].winner is None
    assert [one.reason.endswith("no majority") for one in found.removed] == [True] * len(pairs)


def test_a_tie_can_win() -> None:
    pairs = [question("1", "a", label="tie"), question("2", "a", label=1), question("3", "a", label="tie")]
    found = settle_conflicts(pairs, "majority")
    assert kept(found) == ["1", "3"]
    assert found.removed == [
        RemovedPair("s", "2", "conflict: the pair of s/1 has several labels (1: 1, tie: 2), outvoted"),
    ]


def test_pairs_that_agree_in_either_order_are_no_conflict() -> None:
    pairs = [question("1", "a"), question("2", "a", ("no", "yes"), 2), generation("3", "a", "b", "tie")]
    assert settle_conflicts(pairs, "drop") == ResolvedConflicts(pairs, [], [])


def test_two_candidates_that_are_the_same_thing_agree_on_any_decision() -> None:
    same = [generation("1", "a", "a", 1), generation("2", "a", "a", 2)]
    assert settle_conflicts(same, "drop").conflicts == []
    assert len(settle_conflicts([*same, generation("3", "a", "a", "tie")], "drop").removed) == 3


@pytest.mark.parametrize("second", [generation("2", "a+2", "b", 2), generation("2", "b+1", "a+2", 1)])
def test_near_media_conflict_only_where_a_distance_is_given(second: DedupRecord) -> None:
    pairs = [generation("1", "a", "b", 1), second]
    assert settle_conflicts(pairs, "drop").conflicts == []
    found = settle_conflicts(pairs, "drop", 4)
    assert found.kept == [] and [one.label for one in found.conflicts[0].members] == [1, 2]


def test_candidates_near_each_other_are_taken_the_way_that_agrees() -> None:
    pairs = [generation("1", "a", "a+1", 1), generation("2", "a+2", "a+3", 2)]
    assert settle_conflicts(pairs, "drop", 4).conflicts == []


@given(lists_of_pairs(), st.randoms(), st.sampled_from(RULES), st.sampled_from([None, 0, 4]))
def test_another_order_of_the_pairs_gives_the_same(
    pairs: list[DedupRecord], rng: random.Random, rule: Rule, within: int | None
) -> None:
    found = settle_conflicts(pairs, rule, within)
    assert settle_conflicts(rng.sample(pairs, len(pairs)), rule, within) == found
    names = [one.name for one in found.kept] + [(one.source, one.id) for one in found.removed]
    assert sorted(names) == sorted(one.name for one in pairs)


@given(lists_of_pairs(), st.sampled_from(["drop", "majority"]))
def test_once_settled_there_is_no_conflict_left(pairs: list[DedupRecord], rule: Rule) -> None:
    assert settle_conflicts(settle_conflicts(pairs, rule).kept, rule).conflicts == []
