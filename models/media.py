"""Decoding images and videos to frames, with caps, and naming what cannot be decoded.

Videos are animated images here (APNG, GIF, WebP), read by Pillow; a container such as MP4 is refused by name.
"""

import base64
import io

from PIL import Image, ImageOps, UnidentifiedImageError

from models.errors import MediaError

MAX_IMAGE_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs


def decode(data: bytes, uri: str, *, max_frames: int) -> list[Image.Image]:
    """RGB frames of an encoded image or animation, at most `max_frames`, uniformly sampled in order.

    Raises `MediaError` naming `uri` for bytes that are no image, are truncated, or pass the pixel limit.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise MediaError(uri, f"{image.width}x{image.height} pixels, above the limit of {MAX_IMAGE_PIXELS}")
            count = getattr(image, "n_frames", 1)
            frames = []
            for index in sample_frames(count, max_frames):
                image.seek(index)
                frames.append(ImageOps.exif_transpose(image).convert("RGB"))
            return frames
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise MediaError(uri, f"cannot be decoded: {error}") from error


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
