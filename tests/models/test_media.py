"""Decoding gives RGB frames within the caps, or an error that names the medium; nothing else gets out."""

import base64
import contextlib
import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from models.errors import MediaError
from models.media import MAX_IMAGE_PIXELS, data_url, decode, sample_frames, shrink

COLOURS = ["red", "lime", "blue", "yellow", "cyan", "magenta", "white", "black", "gray", "orange"]


def encoded(frames: list[Image.Image], kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    several = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
    frames[0].save(buffer, format=kind, **several, **options)
    return buffer.getvalue()


def plain(colour: str, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


FILM = [plain(colour) for colour in COLOURS]
NOISE = Image.effect_noise((64, 64), 80).convert("RGB")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_an_animation_gives_its_frames_in_order_evenly_sampled(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = decode(encoded(FILM, kind, **options), "film", max_frames=4)
    assert [frame.getpixel((4, 4)) for frame in frames] == [FILM[at].getpixel((4, 4)) for at in (0, 3, 6, 9)]
    assert all(frame.mode == "RGB" for frame in frames)


def test_a_short_animation_gives_all_its_frames_and_an_image_one() -> None:
    assert len(decode(encoded(FILM[:3]), "film", max_frames=8)) == 3
    assert len(decode(encoded(FILM[:1]), "image", max_frames=8)) == 1


@pytest.mark.parametrize("count", range(1, 40))
def test_sampled_frames_are_distinct_in_order_and_reach_both_ends(count: int) -> None:
    for most in range(2, 12):
        chosen = sample_frames(count, most)
        assert len(chosen) == min(count, most) == len(set(chosen))
        assert chosen == sorted(chosen) and chosen[0] == 0 and chosen[-1] == count - 1
    assert sample_frames(count, 1) == [0]


@pytest.mark.parametrize(
    "data",
    [
        b"",  # an empty file
        b"<html>404 Not Found</html>",  # what a failed download leaves
        b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 64,  # an MP4
        encoded([NOISE])[:40],  # a PNG's header alone
        encoded([NOISE])[:-2000],  # a PNG cut off in its pixels
        encoded([NOISE], "JPEG")[:-800],  # a JPEG cut off in its pixels
        encoded(FILM)[:-300],  # an animation whose last frames are missing
        encoded([plain("red")], "EPS"),  # a program, which Pillow would run in Ghostscript
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
    ],
)
def test_what_cannot_be_decoded_is_an_error_that_names_it(data: bytes) -> None:
    with pytest.raises(MediaError, match=r"^shelf/one\.png: cannot be decoded: ") as caught:
        decode(data, "shelf/one.png", max_frames=8)
    assert caught.value.uri == "shelf/one.png"
    assert "0x" not in str(caught.value), "a memory address would differ from run to run"


@pytest.mark.filterwarnings("ignore")  # Pillow comments on broken TIFF tags
@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "JPEG", "TIFF", "BMP", "AVIF"])
def test_broken_bytes_raise_nothing_but_a_media_error(kind: str) -> None:
    rng = random.Random(kind)
    whole = encoded(FILM[:3] if kind in ("PNG", "GIF", "WEBP", "TIFF") else [NOISE], kind)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 10))):
            data[rng.randrange(min(len(data), rng.choice((64, len(data)))))] = rng.randrange(256)
        with contextlib.suppress(MediaError):
            decode(bytes(data[: rng.choice((len(data), rng.randrange(len(data))))]), "x", max_frames=8)


def claimed(width: int, height: int) -> bytes:
    """A PNG that says it is so large and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header) - 4) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def test_decompression_bombs_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(MediaError, match="400000000 pixels"):  # past twice the limit Pillow itself refuses
        decode(claimed(20_000, 20_000), "bomb", max_frames=8)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(MediaError, match=f"10000x10000 pixels, above the limit of {MAX_IMAGE_PIXELS}"),
    ):
        decode(claimed(10_000, 10_000), "bomb", max_frames=8)


def test_a_photograph_is_turned_as_its_exif_says() -> None:
    picture = Image.new("RGB", (4, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn a quarter
    (frame,) = decode(encoded([picture], "JPEG", exif=exif), "photo", max_frames=1)
    assert frame.size == (2, 4)


def test_a_phones_multi_picture_photograph_is_one_frame() -> None:
    (frame,) = decode(encoded([plain("red"), plain("blue")], "MPO"), "phone.jpg", max_frames=8)
    red, _, blue = frame.getpixel((4, 4))  # type: ignore[misc]
    assert red > 200 and blue < 50


def test_sixteen_bits_a_pixel_are_scaled_and_not_clipped_to_white() -> None:
    levels = Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16))
    assert decode(encoded([levels]), "scan", max_frames=1)[0].getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert decode(encoded([plain("white").convert(mode)], kind), "x", max_frames=1)[0].getpixel((0, 0)) == (255,) * 3


@pytest.mark.parametrize("size", [(1000, 500), (500, 1000), (4000, 1), (3, 3)])
def test_shrinking_keeps_proportions_and_never_enlarges(size: tuple[int, int]) -> None:
    small = shrink(plain("red", size), 10_000)
    assert small.width * small.height <= 10_000
    if size[0] * size[1] <= 10_000:
        assert small.size == size
    else:
        assert small.width / small.height == pytest.approx(size[0] / size[1], rel=0.05)


def test_a_data_url_holds_the_frame_without_loss() -> None:
    head, _, payload = data_url(NOISE).partition(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(payload))).tobytes() == NOISE.tobytes()
