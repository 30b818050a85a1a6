"""One contributor has its share of any beginning of a task's pairs, and no pair is lost or placed twice."""

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from models.pairs.preference import PreferencePair
from models.sources.contradictions import SubmittedPair
from models.sources.shares import blended, contributor_of
from tests.models.splits.made import asked, generated


@given(
    st.integers(0, 40),
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30),
    st.floats(0.01, 1.0),
)
def test_of_any_beginning_one_bringer_has_its_share_rounded_up(
    own_pairs: int, drops: list[tuple[str, bool]], share: float
) -> None:
    own = [asked(f"q{n}", "x") if n % 3 == 0 else generated(f"g{n}", "x", "y") for n in range(own_pairs)]
    brought = [
        SubmittedPair(f"drop/{n}", who, asked(f"d{n}", "x") if question else generated(f"d{n}", "x", "y"))
        for n, (who, question) in enumerate(drops)
    ]
    placed, beyond = blended(own, brought, share)
    assert [one for one in placed if not isinstance(one, SubmittedPair)] == own
    assert sorted(one.name for one in [*placed, *beyond] if isinstance(one, SubmittedPair)) == sorted(
        b.name for b in brought
    )
    seen: dict[str, Counter[str]] = {}
    for one in placed:
        pair = one.pair if isinstance(one, SubmittedPair) else one
        counted = seen.setdefault(pair.task, Counter())
        counted[one.contributor if isinstance(one, SubmittedPair) else ""] += 1
        if isinstance(one, SubmittedPair):
            assert counted[one.contributor] <= math.ceil(share * counted.total())
    if share == 1:
        assert not beyond


def test_without_a_bound_all_dropped_pairs_come_first() -> None:
    own = [generated("own", "x", "y")]
    brought = [SubmittedPair(f"drop/{n}", "a", generated(f"d{n}", "x", "y")) for n in range(3)]
    placed, beyond = blended(own, brought, 1.0)
    assert placed == [*brought, *own] and beyond == []


def test_who_has_fewest_is_next_and_what_is_left_waits() -> None:
    own = [generated(f"own{n}", "x", "y") for n in range(10)]
    brought = [SubmittedPair(f"a/{n}", "a", generated(f"a{n}", "x", "y")) for n in range(5)]
    brought.append(SubmittedPair("b/0", "b", generated("b0", "x", "y")))
    placed, beyond = blended(own, brought, 0.2)
    names = [one.name if isinstance(one, SubmittedPair) else one.id for one in placed]
    assert names[:3] == ["a/0", "b/0", "own0"]
    assert [name for name in names if name.startswith("a/")] == ["a/0", "a/1", "a/2"]
    assert [one.name for one in beyond] == ["a/3", "a/4"]


def test_who_brought_a_drop_is_what_all_its_rows_name_or_the_drop() -> None:
    def named(*sources: str) -> list[PreferencePair]:
        return [generated("p", "x", "y").model_copy(update={"source": source}) for source in sources]

    assert contributor_of("drop-1", named("anna", "anna")) == "anna"
    assert contributor_of("drop-1", named("anna", "ben")) == "drop-1"
    assert contributor_of("drop-1", named("jsonl")) == "drop-1"
    assert contributor_of("drop-1", []) == "drop-1"
