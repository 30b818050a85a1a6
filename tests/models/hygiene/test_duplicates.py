"""Of pairs that say the same one stays, whatever the order of the files."""

import random

from hypothesis import given
from hypothesis import strategies as st

from models.hygiene.dedup_record import DedupRecord
from models.hygiene.duplicates import exact_duplicates, near_duplicates
from models.hygiene.removal import FilterResult, RemovedPair, manifest
from models.pairs.preference import Task
from tests.models.hygiene.known_pairs import generation, lists_of_pairs, question


def ids(sieved: FilterResult) -> list[str]:
    return [one.id for one in sieved.kept]


def test_of_exact_duplicates_the_first_by_source_and_id_stays() -> None:
    found = exact_duplicates(
        [
            generation("1", "a", "b", source="z"),
            generation("9", "a", "b", source="y"),
            generation("2", "a", "b", prompt=" A red BALL. ", source="y"),
        ]
    )
    assert [one.name for one in found.kept] == [("y", "2")]
    assert found.removed == [
        RemovedPair("y", "9", "duplicate: of y/2, which stays"),
        RemovedPair("z", "1", "duplicate: of y/2, which stays"),
    ]


def test_the_other_presentation_order_with_the_label_turned_is_the_same_pair() -> None:
    assert ids(exact_duplicates([generation("1", "a", "b", 1), generation("2", "b", "a", 2)])) == ["1"]
    assert ids(exact_duplicates([generation("1", "a", "b", "tie"), generation("2", "b", "a", "tie")])) == ["1"]
    assert ids(exact_duplicates([question("1", "a"), question("2", "a", ("no", "yes"), 2)])) == ["1"]


def test_what_differs_in_label_task_prompt_medium_or_text_is_no_duplicate() -> None:
    pairs = [
        generation("1", "a", "b"),
        generation("2", "b", "a"),  # the other one is better
        generation("3", "a", "b", "tie"),
        generation("4", "a", "b", prompt="a blue ball"),
        generation("5", "a", "c"),
        generation("6", "a", "b", task=Task.VIDEO_GENERATION),
        question("7", "a"),
        question("8", "b"),
        question("9", "a", ("yes", "maybe")),
    ]
    assert exact_duplicates(pairs).removed == []
    assert near_duplicates(pairs).removed == []


def test_context_in_another_order_is_another_pair() -> None:
    def two(name: str, media: tuple[str, str]) -> DedupRecord:
        return DedupRecord(name, "s", Task.IMAGE_UNDERSTANDING, "Which?", 1, media, ("x", "y"), ((), ()))

    assert exact_duplicates([two("1", ("a", "b")), two("2", ("b", "a"))]).removed == []


def test_a_pair_whose_media_are_encoded_anew_is_a_near_duplicate() -> None:
    found = near_duplicates([generation("1", "a", "b"), generation("2", "a+4", "b+4"), generation("3", "a+5", "b")])
    assert ids(found) == ["1", "3"]
    assert found.removed == [RemovedPair("s", "2", "near duplicate: of s/1, which stays")]


def test_near_duplicates_are_found_in_the_other_order_too() -> None:
    assert ids(near_duplicates([generation("1", "a", "b"), generation("2", "b+2", "a+2", 2)])) == ["1"]
    assert ids(near_duplicates([generation("1", "a", "b", "tie"), generation("2", "b+2", "a+2", "tie")])) == ["1"]
    assert ids(near_duplicates([generation("1", "a", "b"), generation("2", "b+2", "a+2", 1)])) == ["1", "2"]


def test_a_near_duplicate_of_an_understanding_task_has_the_same_texts() -> None:
    pairs = [question("1", "a"), question("2", "a+2", ("no", "yes"), 2), question("3", "a+2", ("yes", "nope"))]
    assert ids(near_duplicates(pairs)) == ["1", "3"]


def test_flat_pictures_do_not_become_duplicates_of_each_other() -> None:
    pairs = [generation(str(n), f"flat{n}", "a") for n in range(5)]
    assert near_duplicates(pairs).removed == []
    assert ids(near_duplicates([generation("1", "flat", "a"), generation("2", "flat", "a+1")])) == ["1"]


def test_who_is_near_a_follower_alone_stays() -> None:
    chain = [generation(str(n), f"a+{3 * n}", "b") for n in range(3)]
    assert ids(near_duplicates(chain)) == ["0", "2"]


def test_the_distance_can_be_chosen() -> None:
    pairs = [generation("1", "a", "b"), generation("2", "a+2", "b")]
    assert ids(near_duplicates(pairs, 1)) == ["1", "2"]
    assert ids(near_duplicates(pairs, 2)) == ["1"]


def test_the_manifest_counts_by_source_and_reason_and_lists_every_id() -> None:
    removed = [
        RemovedPair("t", "1", "duplicate: of s/1, which stays"),
        RemovedPair("s", "3", "near duplicate: of s/1, which stays"),
        RemovedPair("s", "2", "duplicate: of s/1, which stays"),
    ]
    assert manifest(removed) == {
        "count": 3,
        "by_reason": {"duplicate": 2, "near duplicate": 1},
        "by_source": {"s": {"duplicate": 1, "near duplicate": 1}, "t": {"duplicate": 1}},
        "removed": [
            {"source": "s", "id": "2", "reason": "duplicate: of s/1, which stays"},
            {"source": "s", "id": "3", "reason": "near duplicate: of s/1, which stays"},
            {"source": "t", "id": "1", "reason": "duplicate: of s/1, which stays"},
        ],
    }


@given(lists_of_pairs(), st.randoms(), st.integers(0, 4))
def test_another_order_of_the_pairs_gives_the_same(pairs: list[DedupRecord], rng: random.Random, within: int) -> None:
    other = rng.sample(pairs, len(pairs))
    assert exact_duplicates(other) == exact_duplicates(pairs)
    assert near_duplicates(other, within) == near_duplicates(pairs, within)


@given(lists_of_pairs())
def test_every_pair_is_kept_or_removed_and_a_second_time_removes_nothing(pairs: list[DedupRecord]) -> None:
    for sieve in (exact_duplicates, near_duplicates):
        found = sieve(pairs)
        names = [one.name for one in found.kept] + [(one.source, one.id) for one in found.removed]
        assert sorted(names) == sorted(one.name for one in pairs)
        assert sieve(found.kept) == FilterResult(found.kept, [])


@given(lists_of_pairs())
def test_what_is_exactly_the_same_is_near_as_well(pairs: list[DedupRecord]) -> None:
    assert exact_duplicates(near_duplicates(pairs).kept).removed == []
