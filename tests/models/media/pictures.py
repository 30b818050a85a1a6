"""Pictures of one colour, encoded."""

import io
import struct
import zlib

from PIL import Image

COLOURS = ["red", "lime", "blue", "yellow", "cyan", "magenta", "white", "black", "gray", "orange"]
NOISE = Image.effect_noise((64, 64), 80).convert("RGB")


def encoded(frames: list[Image.Image], kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    several = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
    frames[0].save(buffer, format=kind, **several, **options)
    return buffer.getvalue()


def plain(colour: str, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


def chunk(named: bytes) -> bytes:
    """A chunk of a PNG, from its name and content."""
    return struct.pack(">I", len(named) - 4) + named + struct.pack(">I", zlib.crc32(named))
