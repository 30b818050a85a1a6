"""Which frames of a video represent the whole: evenly spread over its time, first and last included."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

# Longest by shortest gap up to which frames count as evenly spaced: WebM rounds to milliseconds (33, 33, 34).
EVEN = 1.5


def sample_frames(count: int, most: int) -> list[int]:
    """At most `most` of `count` frame numbers, evenly spread, first and last included.

    >>> sample_frames(10, 4)
    [0, 3, 6, 9]
    """
    if count <= most:
        return list(range(count))
    if most == 1:
        return [0]
    return [round(step * (count - 1) / (most - 1)) for step in range(most)]


def sample_times(times: Sequence[int], most: int) -> list[int]:
    """The numbers of the frames to show, `min(len(times), most)` of them; `times` ascend, in any unit.

    Where frames are evenly spaced, as `sample_frames`. Where they are not, the frame that a viewer sees at each of
    `most` evenly spread moments between the first and the last: one that is held long is there several times, since a
    judge would otherwise take a still for motion.

    >>> sample_times([0, 10, 20, 30, 40], 3), sample_times([0, 90, 92, 94, 96, 100], 3)
    ([0, 2, 4], [0, 0, 5])
    """
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if len(times) <= most or most == 1 or max(gaps) <= EVEN * min(gaps):
        return sample_frames(len(times), most)
    first, length = times[0], times[-1] - times[0]
    return [bisect_right(times, first + length * step // (most - 1)) - 1 for step in range(most)]
