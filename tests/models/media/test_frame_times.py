"""Frames are chosen by time where they are uneven, by number where they are even; both ends are always there."""

import random
from itertools import accumulate

import pytest

from models.media.frame_times import sample_frames, sample_times


@pytest.mark.parametrize("step", [1, 40, 33_366])
@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 100])
def test_evenly_spaced_frames_are_taken_by_number_wherever_time_begins(count: int, step: int) -> None:
    for most in (1, 2, 3, 8, 16):
        for start in (0, -512, 90_000):
            assert sample_times(range(start, start + count * step, step), most) == sample_frames(count, most)


def test_times_rounded_to_milliseconds_are_even() -> None:
    assert sample_times([round(number * 1000 / 30) for number in range(90)], 8) == sample_frames(90, 8)


def test_each_moment_gets_the_frame_that_is_seen_then() -> None:
    # One frame held for 100, then 20 within 20: moments 0, 24, 48, 72, 96, 120.
    assert sample_times([0, *range(100, 121)], 6) == [0, 0, 0, 0, 0, 21]
    assert sample_times([*range(20), 119], 6) == [0, 19, 19, 19, 19, 20]


def test_a_few_frames_are_all_shown_however_long_each() -> None:
    assert sample_times([0, 1, 1000], 3) == sample_times([0, 1, 1000], 8) == [0, 1, 2]


def test_frames_at_one_time_are_no_fault() -> None:
    assert sample_times([5] * 9, 4) == sample_frames(9, 4)
    assert sample_times([0, 0, 0, 7, 7, 9], 3)[-1] == 5


def test_uneven_times_give_ascending_frames_from_the_first_to_the_last() -> None:
    rng = random.Random(3)
    for _ in range(200):
        times = list(accumulate(rng.choice((1, 2, 50)) for _ in range(rng.randrange(2, 60))))
        most = rng.randrange(2, 12)
        chosen = sample_times(times, most)
        assert len(chosen) == min(len(times), most) and chosen == sorted(chosen)
        assert chosen[0] == 0 and chosen[-1] == len(times) - 1


def test_no_frames_give_none() -> None:
    assert sample_times([], 4) == []
