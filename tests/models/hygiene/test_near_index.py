"""The index finds what comparing each with each finds, and nothing else."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError
from models.hygiene.known import Known
from models.hygiene.near_index import Media, NearIndex
from models.hygiene.perceptual import near
from models.preference import Task


def shows(hashes: list[tuple[int, ...]]) -> list[Known]:
    """A pair for each medium, all with bytes of their own."""
    return [
        Known(str(n), "s", Task.IMAGE_UNDERSTANDING, "p", 1, (f"m{n}",), ("x", "y"), (own,))
        for n, own in enumerate(hashes)
    ]


def found(hashes: list[tuple[int, ...]], within: int, groups: list[int]) -> set[tuple[int, int]]:
    media = Media(shows(hashes), within)
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
    media = Media(shows([(a,), (a ^ 1,), (b,), (b ^ 1,), (c,)]), 4)
    index = NearIndex(media, [[0, 2], [1, 3], [3, 1], [0, 4], [0], [0, 2, 4]], [0] * 6)
    assert index.near(0).tolist() == [0, 1]
    assert index.near(4).tolist() == [4]
    assert index.near(5).tolist() == [5]


def test_a_medium_that_one_set_did_not_hash_has_the_hash_of_the_other() -> None:
    bare, hashed = shows([()])[0], shows([(0x0F0F0F0F0F0F0F0F,)])[0]
    for order in ([bare, hashed], [hashed, bare]):
        assert int(Media(order, 4).words[0, 0]) == 0x0F0F0F0F0F0F0F0F


@pytest.mark.parametrize("within", [-1, 17])
def test_a_distance_out_of_range_is_refused(within: int) -> None:
    with pytest.raises(ConfigError, match=f"within {within} bits, and must mean 0 to 16"):
        Media([], within)


def test_an_index_of_nothing_is_built() -> None:
    assert found([], 4, []) == set()
