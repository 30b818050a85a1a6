"""The media of requests, decoded within a model's caps: in this process, or in those of models/media/decoding.py.

It imports little, and nothing of torch, since it runs in those processes.
"""

from dataclasses import dataclass

from PIL import Image

from models.errors import MediaError
from models.media.decoding import Decoding
from models.media.frames import decode, inspect, shrink


@dataclass(frozen=True)
class EncodedMedium:
    """One medium as it came, where it was, and what a model may be shown of it."""

    data: bytes
    where: str
    max_frames: int
    max_pixels: int


@dataclass(frozen=True)
class DecodedMedium:
    """What a medium is (`image` or `video`), and the frames that a model is shown."""

    kind: str
    frames: list[Image.Image]


def decode_medium(encoded: EncodedMedium) -> DecodedMedium:
    """Decode one medium. Raises `MediaError` naming where it was."""
    kind = inspect(encoded.data, encoded.where).kind
    frames = decode(encoded.data, encoded.where, max_frames=encoded.max_frames)
    return DecodedMedium(kind, [shrink(frame, encoded.max_pixels) for frame in frames])


def decode_with(encoded: EncodedMedium, decoding: Decoding) -> DecodedMedium:
    """`decode_medium` where `decoding` does it. Raises `MediaError`, also for what its process does not survive."""
    (result,) = decoding.map(decode_medium, [(encoded.where, encoded)])
    if isinstance(result, MediaError):
        raise result
    return result
