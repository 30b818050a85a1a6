"""A split once given is kept, connected pairs stay together, and what would connect two splits is left out."""

import sys
from collections import Counter
from random import Random
from types import FrameType

import pytest

from models.pairs.dataset import InvalidPair
from models.pairs.preference import PreferencePair, Split
from models.splits.assign import Assigned, Shares, assign
from models.splits.keys import Hashes
from models.splits.ledger import Ledger
from tests.models.splits.made import asked, generated, sha256, split_by_id

SHARES = Shares(held_out=0.3, validation=0.2)
SIDE = 2**40 - 1  # 40 of 64 bits: a picture with some course of brightness
OTHER = (2**30 - 1) << 34


def given(pairs: list[PreferencePair], ledger: Ledger | None = None, hashes: Hashes | None = None) -> Assigned:
    return assign(pairs, hashes or {}, ledger or Ledger(), SHARES, near_bits=4)


def ledger_of(hashes: Hashes | None = None, **pairs: PreferencePair) -> Ledger:
    ledger = Ledger()
    for split, pair in pairs.items():
        ledger.add({split: [pair]}, hashes or {})  # type: ignore[dict-item]
    return ledger


def test_pairs_that_an_earlier_version_held_do_not_move_when_pairs_that_share_their_media_arrive() -> None:
    rng = Random(3)
    before = [generated(f"p{n}", f"a{n}", f"b{n}") for n in range(90)]
    first = given(before)
    old = split_by_id(first)
    assert set(old.values()) == {"train", "validation", "held_out"}
    ledger = Ledger()
    ledger.add(first.splits, {})
    # Each new pair shows a medium of one old pair, and every other one also one of a second.
    more = [
        generated(f"q{n}", f"a{rng.randrange(90)}", f"b{rng.randrange(90)}" if n % 2 else f"new{n}") for n in range(120)
    ]
    after = given([*more, *before], ledger)
    new = split_by_id(after)
    assert {name: new[name] for name in old} == old
    shown = {split: {m.sha256 for p in pairs for m in p.media()} for split, pairs in after.splits.items()}
    assert len(set.union(*shown.values())) == sum(map(len, shown.values())), "no medium is in two splits"
    assert after.invalid and {one.reason.split(":")[0] for one in after.invalid} <= {
        "connects train and validation",
        "connects train and held_out",
        "connects validation and held_out",
    }
    assert len(new) + len(after.invalid) == 210


def test_a_new_pair_joins_the_split_that_it_is_connected_to_also_through_other_new_pairs() -> None:
    ledger = ledger_of(held_out=generated("old", "a", "b"))
    found = split_by_id(given([generated(f"n{at}", f"x{at}", f"x{at + 1}") for at in range(30)], ledger))
    assert len(set(found.values())) == 1
    chain = [generated(f"n{at}", f"x{at}", f"x{at + 1}") for at in range(30)] + [generated("bridge", "a", "x15")]
    assert set(split_by_id(given(chain, ledger)).values()) == {"held_out"}


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (generated("n", "a", "c"), "connects train and held_out: same medium"),
        (generated("n", "a", "x", "CAPTION of  h!"), "connects train and held_out: same medium, same prompt"),
        (generated("n", "a2", "c"), "connects train and held_out: same medium, near medium"),
        (generated("n", "a2", "c2"), "connects train and held_out: near medium"),
    ],
)
def test_what_would_connect_two_splits_is_left_out_with_the_reason(new: PreferencePair, reason: str) -> None:
    hashes = {sha256("a"): (SIDE,), sha256("a2"): (SIDE ^ 0b101,), sha256("c"): (OTHER,), sha256("c2"): (OTHER ^ 1,)}
    ledger = ledger_of(hashes, train=generated("t", "a", "b"), held_out=generated("h", "c", "d"))
    found = given([new], ledger, hashes)
    assert found.invalid == [InvalidPair("n", reason)]
    assert not split_by_id(found)


def test_a_re_encoded_picture_takes_the_split_of_the_first() -> None:
    hashes = {sha256("a"): (SIDE,), sha256("again"): (SIDE ^ 0b111,), sha256("far"): (SIDE ^ 0b11111,)}
    ledger = ledger_of(hashes, held_out=generated("h", "a", "b"))
    found = given([generated(f"n{n}", "again", f"x{n}") for n in range(20)], ledger, hashes)
    assert set(split_by_id(found).values()) == {"held_out"}
    other = {split_by_id(given([generated("n", "far", f"x{n}")], ledger, hashes))["n"] for n in range(40)}
    assert "train" in other, "five bits are another picture"


def test_two_new_pairs_that_each_join_a_split_do_not_share_a_medium_across_them() -> None:
    ledger = ledger_of(train=generated("t", "a", "b"), held_out=generated("h", "c", "d"))
    found = given([generated("one", "a", "shared"), generated("two", "c", "shared")], ledger)
    assert len(split_by_id(found)) == 1
    assert [one.reason for one in found.invalid] == ["connects train and held_out: same medium"]


def test_a_question_connects_nothing_and_the_picture_that_it_is_about_does() -> None:
    pairs = [asked(f"q{n}", f"picture{n}") for n in range(60)]
    found = split_by_id(given(pairs))
    assert set(found.values()) == {"train", "validation", "held_out"}
    about_one = split_by_id(given([asked(f"q{n}", "one picture", f"question {n}") for n in range(60)]))
    assert len(set(about_one.values())) == 1


def test_a_caption_keeps_its_pairs_together() -> None:
    pairs = [generated(f"{caption}-{n}", f"{caption}a{n}", f"{caption}b{n}", f"{'A ' * (n % 2)}kite {caption}".strip())
             for caption in range(40) for n in (0, 2)]  # fmt: skip
    found = split_by_id(given(pairs))
    assert all(found[f"{caption}-0"] == found[f"{caption}-2"] for caption in range(40))
    assert len(set(found.values())) == 3


def test_neither_the_order_of_pairs_nor_their_presentation_changes_a_split() -> None:
    rng = Random(5)
    ledger = ledger_of(train=generated("t", "m0", "m1"), held_out=generated("h", "m2", "m3"))
    pairs = [generated(f"p{n}", f"m{rng.randrange(60)}", f"m{rng.randrange(200)}") for n in range(80)]
    one = given(pairs, ledger)
    shuffled = [pair.swapped() for pair in rng.sample(pairs, len(pairs))]
    two = given(shuffled, ledger)
    assert split_by_id(one) == split_by_id(two)
    assert {q.id: q.reason for q in one.invalid} == {q.id: q.reason for q in two.invalid} != {}


def test_a_small_set_has_a_validation_pair_where_it_has_three_groups() -> None:
    for start in range(30):
        pairs = [generated(f"p{n}", f"a{start}-{n}", f"b{start}-{n}") for n in range(4)]
        counted = Counter(split_by_id(assign(pairs, {}, Ledger(), Shares(0.1, 0.01), near_bits=4)).values())
        if counted["held_out"] < 3:
            assert counted["validation"] == 1


def test_shares_are_of_the_groups() -> None:
    pairs = [generated(f"p{n}", f"a{n}", f"b{n}") for n in range(3000)]
    counted: Counter[Split] = Counter(split_by_id(given(pairs)).values())
    assert counted["held_out"] / 3000 == pytest.approx(0.3, abs=0.03)
    assert counted["validation"] / 3000 == pytest.approx(0.2, abs=0.03)


def steps(count: int) -> int:
    """Python's instructions while so many unlike pairs are given their splits: the work, not the time."""
    rng = Random(0)
    pairs = [generated(f"p{n}", f"a{n}", f"b{n}", f"caption {rng.randrange(count)}") for n in range(count)]
    hashes = {medium.sha256: (rng.getrandbits(64),) for pair in pairs for medium in pair.media()}
    done = 0

    def step(frame: FrameType, event: str, _: object) -> object:
        nonlocal done
        frame.f_trace_opcodes = True
        done += event == "opcode"
        return step

    tracing = sys.gettrace()
    sys.settrace(step)
    try:
        given(pairs, hashes=hashes)
    finally:
        sys.settrace(tracing)
    return done


def test_four_times_the_pairs_take_little_more_than_four_times_the_steps() -> None:
    assert 3 * steps(250) < steps(1000) < 4.4 * steps(250)
