"""Decoding images and videos to frames, with caps, and naming what cannot be decoded.

Videos are animated images here (APNG, GIF, WebP), read by Pillow; a container such as MP4 is refused by name.
"""

import base64
import io
import struct
import zlib

from PIL import Image, ImageOps, UnidentifiedImageError

from models.errors import MediaError

# Raster formats alone: Pillow hands others, such as EPS, to programs of their own.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
# What Pillow's decoders raise on broken bytes; those beyond OSError and ValueError were found by fuzzing.
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
    Image.DecompressionBombError,
)
MAX_IMAGE_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs


def decode(data: bytes, uri: str, *, max_frames: int) -> list[Image.Image]:
    """RGB frames of an encoded image or animation, at most `max_frames`, uniformly sampled in order.

    Raises `MediaError` naming `uri` for bytes that are no image, are truncated, or pass the pixel limit.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise MediaError(uri, f"{image.width}x{image.height} pixels, above the limit of {MAX_IMAGE_PIXELS}")
            # A phone's MPO is one photograph; its other frames are previews and gain maps.
            count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            frames = []
            for index in sample_frames(count, max_frames):
                image.seek(index)
                frames.append(_rgb(ImageOps.exif_transpose(image)))
            return frames
    except UnidentifiedImageError as error:  # its own message holds a memory address
        raise MediaError(uri, f"cannot be decoded: none of {', '.join(FORMATS)}") from error
    except BROKEN as error:
        raise MediaError(uri, f"cannot be decoded: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    """As RGB; Pillow's own conversion clips 16 bits a pixel to white instead of scaling them."""
    if image.mode.startswith("I;16"):
        image = image.convert("I").point(lambda level: level * (1 / 256)).convert("L")
    return image.convert("RGB")


def sample_frames(count: int, most: int) -> list[int]:
    """At most `most` of `count` frame numbers, evenly spread, first and last included.

    >>> sample_frames(10, 4)
    [0, 3, 6, 9]
    """
    if count <= most:
        return list(range(count))
    if most == 1:
        return [0]
    return [round(step * (count - 1) / (most - 1)) for step in range(most)]


def shrink(image: Image.Image, max_pixels: int) -> Image.Image:
    """The image reduced to at most `max_pixels`, its proportions kept; never enlarged."""
    pixels = image.width * image.height
    if pixels <= max_pixels:
        return image
    factor = (max_pixels / pixels) ** 0.5
    size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
    return image.resize(size, Image.Resampling.BICUBIC)


def data_url(image: Image.Image) -> str:
    """A PNG data URL of one frame, as OpenAI-compatible endpoints take it."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
