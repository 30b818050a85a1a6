"""Dynamic sampling: which pairs are replaced, by which, and that a resumed run goes on as if undisturbed."""

from collections.abc import Sequence
from typing import Any

import pytest

from models.training.refill import Reserve, Row, by_pair, refilled

GROUP = 2


def row(pair: str, label: str = "1") -> Row:
    return {"pair_id": pair, "preferred": label}


def generation(*pairs: str) -> list[Row]:
    """Both presentations of each pair, as TRL hands them over."""
    return [row(pair, label) for pair in pairs for label in ("1", "2") for _ in range(GROUP)]


class Model:
    """Writes numbered completions; a group has spread if its pair's name says so for that presentation: `a+-`."""

    def __init__(self) -> None:
        self.rounds: list[list[str]] = []

    def __call__(self, rows: Sequence[Row], attempt: int) -> tuple[list[list[int]], list[float]]:
        assert attempt == len(self.rounds)
        self.rounds.append([one["pair_id"] for one in rows[::GROUP]])
        earned = []
        for at, one in enumerate(rows):
            varied = one["pair_id"][1:][int(one["preferred"]) - 1] == "+"
            earned.append(float(at % GROUP) if varied else 1.0)
        return [[attempt, at] for at in range(len(rows))], earned


def reserve(*pairs: str) -> Reserve:
    return Reserve(pairs, lambda one: [row(one, "1"), row(one, "2")])


def filled(pairs: Sequence[str], further: Sequence[str], rounds: int, draw: str = "0 0") -> tuple[Any, ...]:
    model = Model()
    rows, texts, counts = refilled(generation(*pairs), GROUP, model, reserve(*further), rounds=rounds, draw=draw)
    assert len(rows) == len(texts) == 2 * GROUP * len(pairs)
    return [one.pair for one in by_pair(rows, GROUP)], texts, counts, model


def test_pairs_without_spread_are_replaced_by_pairs_with_spread_in_their_place() -> None:
    pairs, texts, counts, _ = filled(["a--", "b++", "c--"], ["d++", "e++"], 1)
    assert {pairs[0], pairs[2]} == {"d++", "e++"}
    assert pairs[1] == "b++"
    assert counts == [3, 2]
    assert texts[4:8] == [[0, at] for at in range(4, 8)]  # kept with what was written first
    assert texts[:4] + texts[8:] == [[1, at] for at in range(8)]


def test_a_pair_with_spread_in_one_presentation_stays_whole() -> None:
    pairs, _, counts, _ = filled(["a+-", "b-+"], ["d++"], 3)
    assert (pairs, counts) == (["a+-", "b-+"], [2])


def test_rounds_end_when_nothing_lacks_spread_and_at_the_limit() -> None:
    flat = [f"{name}--" for name in "defghij"]
    assert filled(["a--"], flat, 3)[2] == [1, 1, 1, 1]
    pairs, texts, _, _ = filled(["a--"], flat, 3)
    assert pairs == ["a--"]  # the batch keeps its size
    assert texts == [[0, at] for at in range(4)]
    assert filled(["a--"], ["d++"], 9)[2] == [1, 1]


def test_no_pair_of_the_reserve_is_sampled_twice_or_beside_itself() -> None:
    *_, counts, model = filled(["a--", "b++", "c--"], ["a--", "b++", "d--", "e--", "f--"], 9)
    assert counts == [3, 2, 1]
    later = [one for each in model.rounds[1:] for one in each[::2]]
    assert sorted(later) == ["d--", "e--", "f--"]


def test_what_is_drawn_follows_from_the_seed_and_the_step() -> None:
    further = [f"{name}++" for name in "defghijklm"]
    first = filled(["a--", "b--"], further, 1, "0 7")[0]
    assert first == filled(["a--", "b--"], further, 1, "0 7")[0]
    assert len({tuple(filled(["a--", "b--"], further, 1, f"0 {step}")[0]) for step in range(9)}) > 5


def test_without_a_reserve_nothing_is_replaced() -> None:
    assert filled(["a--"], [], 4)[2] == [1]


@pytest.mark.parametrize("count", [1, 3])
def test_a_generation_may_hold_one_presentation_of_a_pair(count: int) -> None:
    """With an odd number of prompts the last pair is parted, and its replacement is shown as often."""
    rows = generation("b++", "a--")[: GROUP * count]
    if count == 1:
        rows = [row("a--")] * GROUP
    found, texts, _ = refilled(rows, GROUP, Model(), reserve("d++"), rounds=1, draw="")
    assert len(found) == len(texts) == len(rows)
    assert found[-GROUP:] == [row("d++")] * GROUP
