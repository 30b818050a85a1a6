"""All of hygiene together, in whatever order the pairs come."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from models.hygiene.cleaning import clean_sources
from models.hygiene.dedup_record import DedupRecord
from tests.models.hygiene.known_pairs import generation, lists_of_pairs, question


def test_votes_are_counted_before_duplicates_go() -> None:
    pairs = [generation("1", "a", "b", 2), generation("2", "a", "b", 1), generation("3", "a", "b", 1)]
    found = clean_sources(pairs, {}, near_bits=4, conflicts="majority")
    assert [one.id for one in found.kept] == ["2"]
    assert {one.id: one.kind for one in found.removed} == {"1": "conflict", "3": "duplicate"}


def test_the_summary_counts_by_source_and_reason_and_lists_the_removed() -> None:
    pairs = [
        generation("1", "a", "b"),
        generation("2", "a", "b", source="t"),
        generation("3", "a+2", "b", source="t"),
        question("4", "c"),
        question("5", "d"),
        question("6", "d", label=2),
    ]
    found = clean_sources(pairs, {"bench": [question("b1", "c+1")]}, near_bits=4, conflicts="drop")
    assert [one.name for one in found.kept] == [("s", "1")]
    summary = found.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["by_source"] == {
        "s": {"conflict": 2, "near benchmark medium": 1},
        "t": {"duplicate": 1, "near duplicate": 1},
    }
    assert summary["conflicts"] == 1 and summary["count"] == len(summary["removed"]) == 5


@given(lists_of_pairs(), lists_of_pairs(3), st.randoms(), st.sampled_from(["drop", "majority", "keep"]))
def test_another_order_of_the_pairs_gives_the_same(
    pairs: list[DedupRecord], public: list[DedupRecord], rng: random.Random, rule: str
) -> None:
    def cleaned(some: list[DedupRecord]) -> tuple[list[DedupRecord], object]:
        found = clean_sources(some, {"bench": public}, near_bits=4, conflicts=rule)  # type: ignore[arg-type]
        return found.kept, found.summary()

    assert cleaned(rng.sample(pairs, len(pairs))) == cleaned(pairs)
