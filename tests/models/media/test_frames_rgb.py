"""Every frame is upright RGB: orientation, transparency, depth and colour models."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from models.errors import MediaError
from models.media.frames import MediaInfo, decode, inspect
from tests.models.media.pictures import NOISE, chunk, encoded, plain


def test_a_photograph_is_turned_as_its_exif_says() -> None:
    picture = Image.new("RGB", (4, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn a quarter
    (frame,) = decode(encoded([picture], "JPEG", exif=exif), "photo", max_frames=1)
    assert frame.size == (2, 4)


def test_sixteen_bits_a_pixel_are_scaled_and_not_clipped_to_white() -> None:
    levels = Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16))
    assert decode(encoded([levels]), "scan", max_frames=1)[0].getpixel((0, 0)) == (128, 128, 128)


def test_sixteen_bits_in_a_ppm_are_scaled_too() -> None:
    levels = Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16))
    assert decode(encoded([levels], "PPM"), "scan", max_frames=1)[0].getpixel((0, 0)) == (128, 128, 128)


def test_sixteen_bit_colours_are_scaled_too() -> None:
    pixels = zlib.compress(b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0x0100))
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0), b"IDAT" + pixels, b"IEND")
    data = b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, chunks))
    assert decode(data, "scan", max_frames=1)[0].getpixel((0, 0)) == (255, 128, 1)


def test_a_grey_level_or_colour_that_stands_for_transparency_is_white() -> None:
    grey = Image.new("L", (2, 1), 7)
    grey.putpixel((1, 0), 9)
    (frame,) = decode(encoded([grey], transparency=7), "x", max_frames=1)
    assert [frame.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (9, 9, 9)]
    (frame,) = decode(encoded([plain("red")], transparency=(1, 2, 3)), "x", max_frames=1)
    assert frame.getpixel((0, 0)) == (255, 0, 0), "no pixel has the colour"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert decode(encoded([plain("white").convert(mode)], kind), "x", max_frames=1)[0].getpixel((0, 0)) == (255,) * 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_stands_on_white(kind: str) -> None:
    picture = Image.new("RGBA", (8, 8), (0, 0, 255, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 4, 8))  # black, if the alpha channel were dropped
    picture.putpixel((7, 7), (0, 0, 0, 128))
    options = {"lossless": True} if kind == "WEBP" else {}
    (frame,) = decode(encoded([picture], kind, **options), "sticker", max_frames=1)
    assert frame.getpixel((0, 0)) == (255, 255, 255)
    assert frame.getpixel((6, 0)) == (0, 0, 255)
    assert frame.getpixel((7, 7)) == (127, 127, 127)


def test_an_opaque_alpha_channel_changes_nothing() -> None:
    assert decode(encoded([NOISE.convert("RGBA")]), "x", max_frames=1)[0].tobytes() == NOISE.tobytes()


def test_a_palette_gives_its_colours_and_its_transparent_entry_white() -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putpixel((3, 3), 1)
    for kind in ("PNG", "GIF"):
        (frame,) = decode(encoded([picture], kind), "x", max_frames=1)
        assert (frame.getpixel((0, 0)), frame.getpixel((3, 3))) == ((255, 0, 0), (0, 255, 0))
        (frame,) = decode(encoded([picture], kind, transparency=1), "x", max_frames=1)
        assert (frame.getpixel((0, 0)), frame.getpixel((3, 3))) == ((255, 0, 0), (255, 255, 255))


@pytest.mark.parametrize("colour", ["red", "white", "black", "blue"])
def test_a_cmyk_jpeg_as_adobe_writes_it_is_not_inverted(colour: str) -> None:
    data = encoded([plain(colour).convert("CMYK")], "JPEG", quality=100)
    assert b"Adobe" in data and Image.open(io.BytesIO(data)).mode == "CMYK"
    (frame,) = decode(data, "print.jpg", max_frames=1)
    assert np.allclose(np.asarray(frame), np.asarray(plain(colour)), atol=4)


def test_sixteen_bits_in_a_tiff_are_scaled_and_more_are_refused() -> None:
    levels = Image.fromarray(np.array([[0, 0x4000], [0x8000, 0xFFFF]], dtype=np.uint16))
    (frame,) = decode(encoded([levels], "TIFF"), "scan", max_frames=1)
    assert np.asarray(frame)[:, :, 0].tolist() == [[0, 64], [128, 255]]
    for depth, said in ((np.int32, "more than 16 bits"), (np.float32, "fractions")):
        deep = Image.fromarray(np.full((2, 2), 1_000_000, dtype=depth))
        with pytest.raises(MediaError, match=f"scan: cannot be decoded: .*{said}"):
            decode(encoded([deep], "TIFF"), "scan", max_frames=1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_gives_the_upright_picture(orientation: int, kind: str) -> None:
    upright = Image.new("RGB", (16, 8), "white")
    upright.paste((0, 0, 0), (0, 0, 4, 4))
    T = Image.Transpose
    stored = {
        2: T.FLIP_LEFT_RIGHT,
        3: T.ROTATE_180,
        4: T.FLIP_TOP_BOTTOM,
        5: T.TRANSPOSE,
        6: T.ROTATE_90,  # which the viewer turns back, clockwise
        7: T.TRANSVERSE,
        8: T.ROTATE_270,
    }
    picture = upright.transpose(stored[orientation]) if orientation in stored else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded([picture], kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    assert decode(data, "photo", max_frames=1)[0].tobytes() == upright.tobytes()
    assert inspect(data, "photo") == MediaInfo("image", 16, 8, 1, 0.0)
