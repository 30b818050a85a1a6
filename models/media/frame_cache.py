"""Decoded frames kept in memory, as far as they are within a budget of bytes: what was used longest ago goes first."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from PIL import Image

BUDGET = 512 * 2**20  # bytes, where nobody sets another
FrameList = list[Image.Image]


def bytes_of(frames: Sequence[Image.Image]) -> int:
    """The memory that frames take: Pillow keeps RGB in four bytes a pixel (Storage.c, `IM_RGB`)."""
    return sum(4 * frame.width * frame.height for frame in frames)


class FrameCache:
    """The frames of media by uri, decoded by `decode` when they are not there. Several threads may use one.

    A medium above the whole budget is decoded each time.
    """

    def __init__(self, decode: Callable[[str], FrameList], budget: int = BUDGET) -> None:
        self._decode = decode
        self._budget = budget
        self._kept: OrderedDict[str, FrameList] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def __call__(self, uri: str) -> FrameList:
        """The frames of a medium. Raises what `decode` does, each time again."""
        with self._lock:
            if uri in self._kept:
                self._kept.move_to_end(uri)
                return self._kept[uri]
        frames = self._decode(uri)
        size = bytes_of(frames)
        with self._lock:
            if uri not in self._kept and size <= self._budget:
                self._kept[uri] = frames
                self.bytes += size
            while self.bytes > self._budget:
                self.bytes -= bytes_of(self._kept.popitem(last=False)[1])
        return frames
