"""Decoding images and videos to frames, with caps, and naming what cannot be decoded.

The bytes of a file decide what it is, not its name. Images and animations (GIF, APNG, WebP) are read by Pillow,
containers such as MP4 by FFmpeg (models/media/video.py). An uncompressed zip of images is a video published as its
frames; they come in the order of their names, evenly sampled by number.

Every frame is RGB, rotated as its EXIF orientation asks. What is transparent is shown on white, the ground of a page.
(Up to version 0.1 the alpha channel was dropped and the colour below it shown, often black; opaque images decode as
ever.) 16 bits a pixel are scaled to 8. CMYK is taken as Pillow does: JPEGs as Adobe writes them, which is inverted,
and converted without a colour profile. A photograph of several pictures (MPO) is its first.
"""

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageOps, UnidentifiedImageError

from models.errors import MediaError
from models.media.animation import SECOND, durations
from models.media.frame_times import sample_frames as sample_frames  # a name that others import from here
from models.media.frame_times import sample_times
from models.media.video import MAX_FRAMES, container_of, decode_video, measure_video

# Raster formats alone: Pillow hands others, such as EPS, to programs of their own.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
# What Pillow's and the zip's decoders raise on broken bytes; those beyond OSError and ValueError were found by fuzzing.
BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)
MAX_IMAGE_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs
MAX_RATIO = 200  # long to short side; Qwen-VL image processors raise above it (`smart_resize` in transformers)
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # with members, and without
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
ORIENTATION = 0x0112  # of EXIF
TURNED = (2, 3, 4, 5, 6, 7, 8)
ACROSS = (5, 6, 7, 8)  # those that make a wide picture a tall one
WHITE = (255, 255, 255, 255)


@dataclass(frozen=True)
class MediaInfo:
    """What a medium is: its size in pixels as shown, its frames, and how long it lasts, 0 where it is not given."""

    kind: Literal["image", "video"]
    width: int
    height: int
    frames: int
    seconds: float


def decode(data: bytes, uri: str, *, max_frames: int) -> list[Image.Image]:
    """RGB frames of an encoded image or video, at most `max_frames`, evenly sampled over its time, in order.

    Raises `MediaError` naming `uri` for bytes that are neither, are cut off, or pass the limits on pixels, frames and
    proportions: what a model's processor would refuse is refused here, where the medium's name is known.
    """
    frames = _decode(data, uri, max_frames)
    for frame in frames:
        _check_ratio(frame, uri)
    return frames


def _decode(data: bytes, uri: str, max_frames: int) -> list[Image.Image]:
    if container_of(data):
        return decode_video(data, uri, max_frames=max_frames)
    if data[:4] in ZIP:
        with _frames_of(data, uri) as (count, read):
            return [_decode_image(read(at), uri, 1)[0] for at in sample_frames(count, max_frames)]
    return _decode_image(data, uri, max_frames)


def _check_ratio(image: Image.Image, uri: str) -> None:
    long, short = max(image.size), min(image.size)
    if long > MAX_RATIO * short:
        measured = f"{image.width}x{image.height} pixels are {long / short:.1f} to 1"
        words = f"is too narrow: {measured}, above the limit of {MAX_RATIO} to 1: crop it, or pad its short side"
        raise MediaError(uri, words, measured=measured)


def inspect(data: bytes, uri: str) -> MediaInfo:
    """What a medium is, from its header and structure. Raises `MediaError` as `decode` does, but may find less."""
    if container_of(data):
        return MediaInfo("video", *measure_video(data, uri))
    if data[:4] in ZIP:
        with _frames_of(data, uri) as (count, read):
            first = inspect(read(0), uri)
        return MediaInfo("video", first.width, first.height, count, 0.0)
    with _image(data, uri) as image:
        width, height = image.size
        if (
            image.getexif().get(ORIENTATION) in ACROSS and image.format != "TIFF"
        ):  # of which Pillow gives the size as shown
            width, height = height, width
        shown = durations(data)
        count = _count(image, uri)
        seconds = sum(shown) / SECOND if count == len(shown) else 0.0
        return MediaInfo("video" if count > 1 else "image", width, height, count, seconds if count > 1 else 0.0)


@contextmanager
def _image(data: bytes, uri: str) -> Iterator[Image.Image]:
    """An image within the limit on pixels, not yet decoded; what goes wrong in the block is a `MediaError`."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(image, uri)
            yield image
    except Image.DecompressionBombError as error:
        raise MediaError(uri, f"has too many pixels: {error}") from error
    except UnidentifiedImageError as error:  # its own message holds a memory address
        raise MediaError(uri, f"cannot be decoded: none of {', '.join(FORMATS)}, MP4, MOV, WebM and AVI") from error
    except BROKEN as error:
        raise MediaError(uri, f"cannot be decoded: {error}") from error


def _check_pixels(image: Image.Image, uri: str) -> None:
    if image.width * image.height > MAX_IMAGE_PIXELS:
        size = f"{image.width}x{image.height} pixels, above the limit of {MAX_IMAGE_PIXELS}"
        raise MediaError(uri, f"has too many pixels: {size}: scale it down")


def _decode_image(data: bytes, uri: str, max_frames: int) -> list[Image.Image]:
    with _image(data, uri) as image:
        frames = []
        for number in _chosen(data, _count(image, uri), max_frames):
            image.seek(number)
            _check_pixels(image, uri)  # pages of a TIFF differ in size
            frames.append(_rgb(_upright(image)))
        return frames


def _upright(image: Image.Image) -> Image.Image:
    """The frame as its EXIF orientation asks; Pillow's own function copies those that are upright, as most are."""
    image.load()  # some formats say how they lie behind their pixels
    return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) in TURNED else image


def _count(image: Image.Image, uri: str) -> int:
    # A phone's MPO is one photograph; its other frames are previews and gain maps.
    count: int = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if count > MAX_FRAMES:
        raise MediaError(
            uri, f"has too many frames: {count}, above the limit of {MAX_FRAMES}: cut it into shorter videos"
        )
    return count


def _chosen(data: bytes, count: int, most: int) -> list[int]:
    """The frames to show of an animation, by their times if its bytes give them."""
    if count <= most or len(shown := durations(data)) != count:
        return sample_frames(count, most)
    starts = [0]
    for duration in shown[:-1]:
        starts.append(starts[-1] + duration)
    return sample_times(starts, most)


def _rgb(image: Image.Image) -> Image.Image:
    """As RGB; Pillow's own conversion drops alpha, and clips 16 bits a pixel to white instead of scaling them."""
    if image.mode == "F":
        raise ValueError("its pixels are fractions, of which nothing defines what is white: save it at 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = image.convert("I")
        if image.getextrema()[1] > 0xFFFF:  # type: ignore[operator]
            raise ValueError("it has more than 16 bits a pixel: save it at 8 or 16 bits")
        image = image.point(lambda level: level * (1 / 256)).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[0] == 255:
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB")


@contextmanager
def _frames_of(data: bytes, uri: str) -> Iterator[tuple[int, Callable[[int], bytes]]]:
    """How many frames a bundle holds, and how one is read. Compressed members are refused: they could be bombs."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
            if not members:
                raise MediaError(uri, "cannot be decoded: it is an archive without frames")
            if len(members) > MAX_FRAMES:
                raise MediaError(uri, f"has too many frames: {len(members)}, above the limit of {MAX_FRAMES}")
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise MediaError(uri, "cannot be decoded: it is a compressed archive: unpack it, or store its frames")
            yield len(members), lambda at: archive.read(members[at])
    except BROKEN as error:
        raise MediaError(uri, f"cannot be decoded: {error}") from error


def pack_frames(frames: Iterable[tuple[str, bytes]]) -> bytes:
    """Encoded frames, each under its name, as an uncompressed zip, which `decode` reads in the order of the names.

    The same frames and names give the same bytes.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in frames:
            file.writestr(zipfile.ZipInfo(name, FIRST_DATE), data)
    return buffer.getvalue()


def shrink(image: Image.Image, max_pixels: int) -> Image.Image:
    """The image reduced to at most `max_pixels`, its proportions kept; never enlarged.

    Rounding takes no image above `MAX_RATIO` that was within it.
    """
    pixels = image.width * image.height
    if pixels <= max_pixels:
        return image
    factor = (max_pixels / pixels) ** 0.5
    size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
    longest = MAX_RATIO * min(size)
    if max(image.size) <= MAX_RATIO * min(image.size):
        size = (min(size[0], longest), min(size[1], longest))
    return image.resize(size, Image.Resampling.BICUBIC)


def data_url(image: Image.Image) -> str:
    """A PNG data URL of one frame, as OpenAI-compatible endpoints take it."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
