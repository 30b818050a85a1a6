"""Who contradicts a label that is there is left out; among drops the rule decides, one vote a contributor."""

from typing import Any

import pytest

from models.pairs.preference import PreferencePair, swapped_preference
from models.sources.contradictions import DISAGREE, OWN_LABEL, SubmittedPair, contradicting
from models.splits.keys import Hashes
from tests.models.splits.made import asked, generated, sha256

SIDE, OTHER = 2**40 - 1, (2**30 - 1) << 34
HASHES: Hashes = {
    sha256("a"): (SIDE,),
    sha256("a again"): (SIDE ^ 0b101,),
    sha256("b"): (OTHER,),
    sha256("b again"): (OTHER ^ 1,),
    sha256("far"): (SIDE ^ 0b11111,),
}
OWN = generated("own", "a", "b", "A red kite")


def flipped(pair: PreferencePair) -> PreferencePair:
    return pair.model_copy(update={"preferred": swapped_preference(pair.preferred)})


def brought(*pairs: PreferencePair, by: str = "") -> list[SubmittedPair]:
    return [SubmittedPair(f"drop/{at}{by} {pair.id}", by or f"contributor {at}", pair) for at, pair in enumerate(pairs)]


def invalid(own: list[PreferencePair], *pairs: PreferencePair, rule: Any = "drop") -> list[str]:
    given = brought(*pairs)
    found = contradicting(own, given, HASHES, rule, within=4)
    assert set(found) <= {one.name for one in given}
    return [found.get(one.name, "") for one in given]


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (generated("same", "a", "b", "a red KITE!"), ""),
        (flipped(generated("flip", "a", "b", "a red KITE!")), OWN_LABEL),
        (flipped(generated("flip", "a", "b", "a red kite")).swapped(), OWN_LABEL),
        (generated("turned", "b", "a", "a red kite"), OWN_LABEL),
        (generated("near", "a again", "b again", "a red kite"), ""),
        (flipped(generated("near flip", "a again", "b again", "a red kite")), OWN_LABEL),
        (flipped(generated("near flip", "a again", "b again", "a red kite")).swapped(), OWN_LABEL),
        (generated("tie", "a", "b", "a red kite").model_copy(update={"preferred": "tie"}), OWN_LABEL),
        (flipped(generated("other caption", "a", "b", "a blue kite")), ""),
        (flipped(generated("other picture", "far", "b", "a red kite")), ""),
    ],
)
def test_the_sources_own_label_stands(pair: PreferencePair, reason: str) -> None:
    assert invalid([OWN], pair) == [reason]
    assert invalid([OWN], pair, rule="majority") == [reason]
    assert invalid([OWN], pair, rule="keep") == [""]


def test_of_an_own_pair_that_has_two_labels_already_neither_is_a_contradiction() -> None:
    both = [OWN, flipped(generated("own too", "a", "b", "A red kite"))]
    assert (
        invalid(both, generated("n", "a", "b", "a red kite"), flipped(generated("m", "a", "b", "a red kite")))
        == [""] * 2
    )


def test_answers_to_a_question_contradict_each_other_about_the_same_picture_alone() -> None:
    assert invalid([asked("own", "a")], flipped(asked("n", "a")), flipped(asked("m", "b"))) == [OWN_LABEL, ""]


def test_drops_that_disagree_are_all_left_out_or_outvoted() -> None:
    pair = generated("p", "a", "b", "a red kite")
    near = generated("q", "a again", "b again", "a red kite")
    assert invalid([], pair, flipped(near), near) == [DISAGREE] * 3
    assert invalid([], pair, flipped(near), near, rule="majority") == ["", DISAGREE, ""]
    assert invalid([], pair, flipped(near), rule="majority") == [DISAGREE] * 2


def test_whoever_drops_a_label_ten_times_has_one_vote() -> None:
    pair = generated("p", "a", "b", "a red kite")
    loud = brought(*[flipped(pair)] * 10, by="loud")
    two = [*brought(pair, by="one"), *brought(pair, by="two")]
    found = contradicting([], [*loud, *two], HASHES, "majority", within=4)
    assert found == {one.name: DISAGREE for one in loud}
