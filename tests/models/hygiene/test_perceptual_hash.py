"""The same picture keeps its hash when it is encoded again or made smaller, and another picture has another."""

import io
import random
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from models.hygiene.perceptual import distance, informative, near, perceptual_hash

NEAR = 4


def rendered(seed: int) -> Image.Image:
    """Soft gradients with some sharp solids, as wide or high as chance has it."""
    rng = random.Random(seed)
    coarse = np.random.default_rng(seed).integers(0, 256, (rng.randint(2, 5), rng.randint(2, 5), 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((256, int(256 * rng.uniform(0.6, 1.4))), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(3, 12)):
        x, y = rng.uniform(0, image.width), rng.uniform(0, image.height)
        a, b = rng.uniform(10, 90), rng.uniform(10, 90)
        solid = rng.choice([draw.ellipse, draw.rectangle])
        solid([x - a, y - b, x + a, y + b], fill=(rng.randrange(256), rng.randrange(256), rng.randrange(256)))
    return image


def encoded(image: Image.Image, format: str, **options: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def test_a_picture_as_png_and_as_jpeg_of_half_size_is_near() -> None:
    for seed in range(60):
        png = perceptual_hash([encoded(rendered(seed), "PNG")])
        for other in (encoded(rendered(seed), "JPEG", quality=75), encoded(half(rendered(seed)), "JPEG", quality=75)):
            assert near(png, perceptual_hash([other]), NEAR)


def test_of_300_different_pictures_no_two_are_near() -> None:
    hashes = [perceptual_hash([rendered(seed)])[0] for seed in range(300)]
    distances = [(one ^ other).bit_count() for one, other in combinations(hashes, 2)]
    assert len(distances) == 44_850
    assert min(distances) > NEAR


def test_each_bit_says_whether_it_gets_brighter_to_the_right() -> None:
    levels = np.full((8, 9), 100, dtype=np.uint8)
    levels[0, 1:] = 200  # brighter once, in the first row: its first bit
    levels[7, 8] = 200  # in the last row: its last bit
    assert perceptual_hash([Image.fromarray(levels)]) == ((1 << 63) | 1,)


@pytest.mark.parametrize("colour", ["white", "black", "red", "gray"])
def test_flat_pictures_share_a_hash_and_are_near_nothing(colour: str) -> None:
    flat = perceptual_hash([Image.new("RGB", (320, 200), colour)])
    assert flat == (0,)
    assert not near(flat, flat, NEAR)
    assert not near(flat, perceptual_hash([encoded(Image.new("RGB", (320, 200), "blue"), "JPEG", quality=75)]), NEAR)


def test_a_picture_with_one_dot_on_a_flat_ground_is_near_nothing() -> None:
    dotted = Image.new("RGB", (320, 200), "white")
    ImageDraw.Draw(dotted).rectangle([100, 100, 102, 102], fill="black")
    assert not near(perceptual_hash([dotted]), perceptual_hash([dotted]), NEAR)


def test_a_slope_from_left_to_right_says_nothing_either() -> None:
    slope = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (64, 1)))
    assert perceptual_hash([slope]) == (2**64 - 1,)
    assert not near(perceptual_hash([slope]), perceptual_hash([slope]), NEAR)


def test_a_hash_is_informative_beyond_eight_bits_and_beyond_the_distance() -> None:
    assert informative(0xFF, 4) and not informative(0x7F, 4)
    assert informative(0x1FFF, 12) and not informative(0xFFF, 12)
    assert informative(~0xFF & (2**64 - 1), 4) and not informative(~0x7F & (2**64 - 1), 4)


def test_a_video_has_the_hashes_of_its_first_middle_and_last_frame() -> None:
    frames = [rendered(seed) for seed in range(5)]
    assert perceptual_hash(frames) == tuple(perceptual_hash([frames[index]])[0] for index in (0, 2, 4))
    assert perceptual_hash(frames[:2]) == perceptual_hash([frames[0]]) + perceptual_hash([frames[1]])
    assert perceptual_hash([]) == ()


def test_videos_that_open_in_black_are_compared_by_the_other_frames() -> None:
    black = Image.new("RGB", (256, 256))
    one = perceptual_hash([black, rendered(1), rendered(2)])
    assert near(one, perceptual_hash([black, half(rendered(1)), half(rendered(2))]), NEAR)
    assert not near(one, perceptual_hash([black, rendered(1), rendered(3)]), NEAR)


def test_the_frame_that_differs_most_counts() -> None:
    assert distance((0, 0b111, 0), (0, 0, 0b1)) == 3
    assert distance((0,), (0, 0, 0)) == distance((), ()) == 64


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_of_pixels_is_hashed(mode: str) -> None:
    assert len(perceptual_hash([rendered(0).convert(mode)])) == 1


def test_the_same_picture_in_grey_has_the_same_hash() -> None:
    assert perceptual_hash([rendered(0)]) == perceptual_hash([rendered(0).convert("L")])
