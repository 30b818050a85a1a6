"""Durations are read from an animation's structure as they were written, and broken bytes give fewer and no error."""

import io
import random
import struct
from collections.abc import Sequence

import pytest
from PIL import Image

from models.media.animation import durations

KINDS = ["GIF", "PNG", "WEBP"]
HELD = [100, 250, 30, 1000, 20]  # milliseconds; GIF knows hundredths of a second


def animated(kind: str, held: Sequence[int], mode: str = "RGB") -> bytes:
    frames = [Image.new("RGB", (9, 7), (number * 40, 0, 0)).convert(mode) for number in range(len(held))]
    buffer = io.BytesIO()
    frames[0].save(buffer, format=kind, save_all=True, append_images=frames[1:], duration=list(held), loop=0)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
@pytest.mark.parametrize("kind", KINDS)
def test_durations_are_those_written(kind: str, mode: str) -> None:
    assert durations(animated(kind, HELD, mode)) == [1000 * held for held in HELD]


@pytest.mark.parametrize("kind", KINDS)
def test_no_time_at_all_is_a_tenth_of_a_second_as_in_browsers(kind: str) -> None:
    assert durations(animated(kind, [0, 10, 20])) == [100_000, 100_000, 20_000]


def test_a_png_without_a_denominator_counts_in_hundredths() -> None:
    data = animated("PNG", [250, 500]).replace(struct.pack(">HH", 250, 1000), struct.pack(">HH", 25, 0))
    assert durations(data) == [250_000, 500_000]


def test_a_still_image_and_other_bytes_have_none() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7)).save(buffer, format="PNG")
    assert durations(buffer.getvalue()) == durations(b"") == durations(b"GIF89a") == durations(b"words") == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_off_or_broken_gives_what_it_tells(kind: str) -> None:
    whole = animated(kind, HELD)
    rng = random.Random(kind)
    for cut in range(len(whole)):
        told = durations(whole[:cut])
        assert told == [1000 * held for held in HELD][: len(told)]
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] = rng.randrange(256)
        durations(bytes(data))
