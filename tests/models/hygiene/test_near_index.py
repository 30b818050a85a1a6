"""The index finds what comparing each with each finds, and nothing else."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError
from models.hygiene.dedup_record import DedupRecord
from models.hygiene.near_index import DistinctMedia, NearIndex, masks
from models.hygiene.perceptual import near
from models.pairs.preference import Task

SIDE = 2**40 - 1  # 40 of 64 bits: a picture with some course of brightness


def shows(hashes: list[tuple[int, ...]]) -> list[DedupRecord]:
    """A pair for each medium, all with bytes of their own."""
    return [
        DedupRecord(str(n), "s", Task.IMAGE_UNDERSTANDING, "p", 1, (f"m{n}",), ("x", "y"), (own,))
        for n, own in enumerate(hashes)
    ]


def found(hashes: list[tuple[int, ...]], within: int, groups: list[int]) -> set[tuple[int, int]]:
    media = DistinctMedia(shows(hashes), within)
    index = NearIndex(media, [[number] for number in range(len(hashes))], groups)
    return {(one, int(other)) for one in range(len(hashes)) for other in index.near(one)}


def expected(hashes: list[tuple[int, ...]], within: int, groups: list[int]) -> set[tuple[int, int]]:
    every = range(len(hashes))
    return {
        (i, j)
        for i in every
        for j in every
        if groups[i] == groups[j] and (i == j or near(hashes[i], hashes[j], within))
    }


def disturbed(rng: random.Random, count: int, within: int) -> list[tuple[int, ...]]:
    """Images and videos, many of them at the very limit from another, some flat."""
    made: list[tuple[int, ...]] = [(0,), (), (0, 0, 0)]
    while len(made) < count:
        like = rng.choice(made)
        frames = list(like)
        for place in range(len(frames)):
            for bit in rng.sample(range(64), rng.choice([0, within, within + 1])):
                frames[place] ^= 1 << bit
        fresh = [rng.choice([0, rng.getrandbits(64)]) for _ in range(rng.choice([1, 3]))]
        made.append(tuple(rng.choice([frames, fresh])))
    return made


@pytest.mark.parametrize("within", [0, 1, 4, 7, 16])
def test_the_index_finds_what_comparing_each_with_each_finds(within: int) -> None:
    rng = random.Random(within)
    hashes = disturbed(rng, 250, within)
    groups = [rng.randrange(2) for _ in hashes]
    wanted = expected(hashes, within, groups)
    assert len(wanted) > len(hashes)
    assert found(hashes, within, groups) == wanted


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8), st.integers(0, 16), st.randoms())
def test_nothing_at_the_very_limit_is_missed(values: list[int], within: int, rng: random.Random) -> None:
    moved = [value ^ sum(1 << bit for bit in rng.sample(range(64), within)) for value in values]
    hashes: list[tuple[int, ...]] = [(value,) for value in values + moved]
    assert found(hashes, within, [0] * len(hashes)) == expected(hashes, within, [0] * len(hashes))


def test_flat_media_and_unhashed_ones_are_near_themselves_alone() -> None:
    hashes: list[tuple[int, ...]] = [(0,), (0,), (), (), (0, 0, 0), (2**64 - 1,)]
    assert found(hashes, 4, [0] * 6) == {(one, one) for one in range(6)}


def test_rows_are_near_if_each_medium_is_near_the_one_in_its_place() -> None:
    a, b, c = 0x0F0F0F0F0F0F0F0F, 0x00FF00FF00FF00FF, 0x3333333333333333
    media = DistinctMedia(shows([(a,), (a ^ 1,), (b,), (b ^ 1,), (c,)]), 4)
    index = NearIndex(media, [[0, 2], [1, 3], [3, 1], [0, 4], [0], [0, 2, 4]], [0] * 6)
    assert index.near(0).tolist() == [0, 1]
    assert index.near(4).tolist() == [4]
    assert index.near(5).tolist() == [5]


def test_a_medium_that_one_set_did_not_hash_has_the_hash_of_the_other() -> None:
    bare, hashed = shows([()])[0], shows([(0x0F0F0F0F0F0F0F0F,)])[0]
    for order in ([bare, hashed], [hashed, bare]):
        assert int(DistinctMedia(order, 4).words[0, 0]) == 0x0F0F0F0F0F0F0F0F


@pytest.mark.parametrize("within", [-1, 17])
def test_a_distance_out_of_range_is_refused(within: int) -> None:
    with pytest.raises(ConfigError, match=f"within {within} bits, and must mean 0 to 16"):
        DistinctMedia([], within)


def test_an_index_of_nothing_is_built() -> None:
    assert found([], 4, []) == set()


@pytest.mark.parametrize("within", range(17))
@pytest.mark.parametrize("count", [2, 10**5, 10**6, 10**8])
def test_hashes_at_the_very_limit_agree_in_a_key_however_many_there_are(within: int, count: int) -> None:
    rng = random.Random(within)
    keys = [int(mask) for mask in masks(count, within)]
    for _ in range(200):
        moved = sum(1 << bit for bit in rng.sample(range(64), within))
        assert any(not moved & key for key in keys)


def test_more_media_are_sorted_by_longer_keys() -> None:
    few, many = masks(10**4, 4), masks(10**6, 4)
    assert (len(few), len(many)) == (5, 15)
    assert {int(mask).bit_count() for mask in few} == {12, 13}
    assert {int(mask).bit_count() for mask in many} == {20, 21, 22}


def compared(hashes: list[tuple[int, ...]]) -> int:
    media = DistinctMedia(shows(hashes), 4)
    return NearIndex(media, [[number] for number in range(len(hashes))], [0] * len(hashes)).compared


def test_media_are_not_compared_each_with_each() -> None:
    rng = random.Random(0)
    count = 20_000
    hashes: list[tuple[int, ...]] = [(rng.getrandbits(64),) for _ in range(count)]
    # By chance: four keys of 13 bits and one of 12 (64 bits in five bands), each pair of hashes once.
    by_chance = count**2 / 2 * (4 / 2**13 + 1 / 2**12)
    assert 0.9 * by_chance < compared(hashes) < 1.1 * by_chance
    assert compared([(SIDE,)] * count) == 0, "equal hashes need no comparison"
