"""Small files that are no work to send and much to decode, within every limit on pixels and frames."""

import io

from PIL import Image


def slow_gif(side: int = 6000, frames: int = 200) -> bytes:
    """An animation of equal flat frames, each a square of `side` pixels: under 10 kB a frame, minutes to decode."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 200).save(buffer, "GIF")
    whole = buffer.getvalue()
    head = 13 + (3 << ((whole[10] & 7) + 1) if whole[10] & 0x80 else 0)
    return whole[:head] + whole[head:-1] * frames + b";"


def large_png(side: int = 9400) -> bytes:
    """A flat square: some 300 kB, and 4 bytes a pixel in memory."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(buffer, "PNG")
    return buffer.getvalue()
