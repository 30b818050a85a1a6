"""How long an animated GIF, PNG or WebP shows each of its frames, read from its structure and without decoding.

Pillow gives a frame's duration only once it is decoded. Formats: GIF89a (section 23, Graphic Control Extension), PNG
third edition (`fcTL`), WebP container specification (`ANMF`).
"""

import struct
from collections.abc import Iterator
from contextlib import suppress

SECOND = 1_000_000  # in the unit of all durations here, the microsecond
# Browsers show a frame that asks for 10 ms or less for 100 ms, and so animations are made to be seen.
SHORTEST, SHOWN_INSTEAD = SECOND // 100, SECOND // 10


def durations(data: bytes) -> list[int]:
    """One duration a frame in microseconds; fewer than there are frames, or none, if the bytes do not give them."""
    if data[:4] == b"GIF8":
        found = _of_gif(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        found = _of_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        found = _of_webp(data)
    else:
        return []
    durations: list[int] = []
    with suppress(IndexError, struct.error):  # cut off: decoding reports it
        durations.extend(duration if duration > SHORTEST else SHOWN_INSTEAD for duration in found)
    return durations


def _of_gif(data: bytes) -> Iterator[int]:
    at = 13 + _table(data[10])
    delay = 0
    while data[at] != 0x3B:  # the trailer
        if data[at] == 0x21:  # an extension: its label, then sub-blocks
            if data[at + 1] == 0xF9:
                (delay,) = struct.unpack_from("<H", data, at + 4)
            at = _after_blocks(data, at + 2)
        elif data[at] == 0x2C:  # a frame: its place and size, perhaps colours, then LZW codes
            yield delay * SECOND // 100
            delay = 0
            at = _after_blocks(data, at + 10 + _table(data[at + 9]) + 1)
        else:
            return


def _table(flags: int) -> int:
    """The bytes of the colour table that these flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += data[at] + 1
    return at + 1


def _of_png(data: bytes) -> Iterator[int]:
    at = 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"fcTL":
            part, whole = struct.unpack_from(">HH", data, at + 28)
            yield part * SECOND // (whole or 100)
        at += length + 12


def _of_webp(data: bytes) -> Iterator[int]:
    at = 12
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"ANMF":
            low, high = struct.unpack_from("<HB", data, at + 20)
            yield (high << 16 | low) * SECOND // 1000
        at += 8 + length + length % 2
