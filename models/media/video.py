"""Decoding videos: MP4, MOV, WebM, Matroska and AVI from bytes, by FFmpeg's own decoders (PyAV), one after the other.

Frames are sampled evenly over the time between the first and the last one, by their timestamps
(models/media/frame_times.py), and turned and mirrored as the file asks, so that a phone's video is upright. The
whole video is decoded: a jump to a key frame would give other frames with another index. Sound, subtitles and cover
pictures are left alone; a video that draws on other files or addresses is refused, since nothing but its bytes is read.
Pixels count as square.

A file that ends before its header announces is refused as cut off, as a cut image is: people judged the whole. A
recording whose header gives no length (a live WebM, a fragmented MP4) is read as far as it goes.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from PIL import Image

from models.errors import MediaError
from models.media.frame_times import sample_times

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_FRAME_PIXELS = 8192 * 4320  # 8K in either of its widths
MAX_FRAMES = 36_000  # 10 minutes at 60 frames a second
MAX_SECONDS = 3600.0  # an hour of slides; a few frames spread over days are a broken clock
# Of an ISO file's first brand; they are Pillow's, or nobody's.
IMAGE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
# What QuickTime files without a `ftyp` begin with.
QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
# How Pillow turns an image as a display matrix asks, by its signs (ISO 14496-12, 8.5.2: x' = ax + cy, y' = bx + dy).
TURNS = {
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
# Those that make a wide picture a tall one.
ACROSS = [turn for (a, *_), turn in TURNS.items() if not a]


def container_of(data: bytes) -> str | None:
    """FFmpeg's name of the container that these bytes begin, `None` for what is no video that we read."""
    if data[4:8] == b"ftyp":
        return None if data[8:12] in IMAGE_BRANDS else "mov"
    if data[4:8] in QUICKTIME:
        return "mov"
    if data[:4] == EBML:
        return "matroska"
    return "avi" if data[:4] == b"RIFF" and data[8:12] == b"AVI " else None


def decode_video(data: bytes, uri: str, *, max_frames: int) -> list[Image.Image]:
    """RGB frames, `max_frames` of them or all if there are fewer, in order; the same bytes give the same frames.

    Raises `MediaError` naming `uri` for bytes that FFmpeg cannot decode, a video that is cut off, holds no frame, or
    passes `MAX_FRAME_PIXELS`, `MAX_FRAMES` or `MAX_SECONDS`.
    """
    _check_whole(data, uri)
    with _opened(data, uri) as (container, stream):
        times, _ = _packet_times(container, stream, uri)
    shown, found = _pictures(data, uri, sample_times(times, max_frames) if times else [])
    if len(found) != len(times):  # hidden frames, two fields a frame: a packet is not always a frame
        times = found
        shown, found = _pictures(data, uri, sample_times(times, max_frames) if times else [])
    if not found:
        raise MediaError(uri, "cannot be decoded: it holds no frame")
    return shown


def measure_video(data: bytes, uri: str) -> tuple[int, int, int, float]:
    """Width and height in pixels as it is shown, frames, and seconds; only the first frame is decoded.

    Frames are packets here, of which a few codecs have some that show nothing. Raises as `decode_video` does.
    """
    _check_whole(data, uri)
    with _opened(data, uri) as (container, stream):
        times, seconds = _packet_times(container, stream, uri)
    with _opened(data, uri) as (container, stream):
        for frame in container.decode(stream):
            shown = (frame.height, frame.width) if _turn(frame) in ACROSS else (frame.width, frame.height)
            return *shown, len(times), seconds
    raise MediaError(uri, "cannot be decoded: it holds no frame")


@contextmanager
def _opened(data: bytes, uri: str) -> "Iterator[tuple[InputContainer, VideoStream]]":
    import av

    def refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
        raise MediaError(uri, "cannot be decoded: it refers to another file: write the video as one file")

    limit = {"max_pixels": str(MAX_FRAME_PIXELS)}
    try:
        with av.open(
            io.BytesIO(data), "r", format=container_of(data), options=limit, metadata_errors="replace", io_open=refuse
        ) as container:
            covers = av.stream.Disposition.attached_pic
            streams = [stream for stream in container.streams.video if not stream.disposition & covers]
            if not streams:
                raise MediaError(uri, "cannot be decoded: it holds no video")
            stream = streams[0]
            if getattr(stream, "codec_context", None) is None:  # which PyAV's types do not show
                raise MediaError(uri, "cannot be decoded: its codec is unknown")
            _check_pixels(stream.width, stream.height, uri)
            # In worker processes, one a core, a codec's own threads only wait for each other.
            stream.codec_context.thread_count = 1
            stream.codec_context.options = limit
            yield container, stream
    except av.EOFError as error:
        raise MediaError(uri, "cannot be decoded: it holds no frame before its end") from error
    except MemoryError:  # which FFmpeg's own is as well; models/media/decoding.py knows the limit
        raise
    except av.FFmpegError as error:
        raise MediaError(uri, f"cannot be decoded: {error.strerror or type(error).__name__}") from error


def _check_pixels(width: int, height: int, uri: str) -> None:
    if width * height > MAX_FRAME_PIXELS:
        raise MediaError(
            uri, f"has too many pixels: {width}x{height} a frame, above the limit of {MAX_FRAME_PIXELS}: scale it down"
        )


def _packet_times(container: "InputContainer", stream: "VideoStream", uri: str) -> tuple[list[int], float]:
    """When each frame is shown, ascending, in the stream's unit (frames if it gives no times), and seconds in all."""
    shown: list[tuple[int | None, int]] = []
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard:  # the end, or outside of the file's edit list
            continue
        shown.append((packet.pts if packet.pts is not None else packet.dts, packet.duration or 0))
        if len(shown) > MAX_FRAMES:
            raise MediaError(uri, f"has too many frames: more than {MAX_FRAMES}, the limit: cut it into shorter videos")
    if not shown:
        return [], 0.0
    timed = sorted((time, duration) for time, duration in shown if time is not None)
    rate = float(stream.average_rate or 0)
    if len(timed) < len(shown) or stream.time_base is None:
        return list(range(len(shown))), len(shown) / rate if rate else 0.0
    length = timed[-1][0] - timed[0][0]
    last = timed[-1][1] or (length // (len(timed) - 1) if len(timed) > 1 else 0)
    seconds = float((length + last) * stream.time_base)
    if seconds > MAX_SECONDS:
        raise MediaError(
            uri, f"is too long: {seconds:g} s, above the limit of {MAX_SECONDS:g}: cut it into shorter videos"
        )
    return [time for time, _ in timed], seconds


def _pictures(data: bytes, uri: str, wanted: Sequence[int]) -> tuple[list[Image.Image], list[int]]:
    """The frames of these numbers, one number perhaps several times, and the times of all frames, ascending."""
    numbers = set(wanted)
    pictures: dict[int, Image.Image] = {}
    times: list[int] = []
    with _opened(data, uri) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            if number == MAX_FRAMES:
                raise MediaError(
                    uri, f"has too many frames: more than {MAX_FRAMES}, the limit: cut it into shorter videos"
                )
            _check_pixels(frame.width, frame.height, uri)  # which may change within a stream
            times.append(number if frame.pts is None else frame.pts)
            if number in numbers:
                picture: Image.Image = frame.to_image()
                turn = _turn(frame)
                pictures[number] = picture if turn is None else picture.transpose(turn)
    return [pictures[number] for number in wanted if number in pictures], sorted(times)


def _turn(frame: Any) -> Image.Transpose | None:
    """How a frame is to be turned for display; by quarters alone, as cameras do."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = struct.unpack("<5i", bytes(matrix)[:20])
    half = max(abs(a), abs(b), abs(c), abs(d)) / 2
    return TURNS.get(tuple((value > half) - (value < -half) for value in (a, b, c, d)))


def _check_whole(data: bytes, uri: str) -> None:
    """Refuse a file that ends within one of its parts, as a broken download leaves it."""
    kind = container_of(data)
    ends = {"mov": _iso_ends, "matroska": _matroska_ends, "avi": _avi_ends}[kind](data) if kind else []
    if kind == "mov" and not ends:
        raise MediaError(uri, "cannot be decoded: it has no index (moov) and is cut off, or no video: fetch it again")
    if ends and max(ends) > len(data):
        raise MediaError(
            uri, f"cannot be decoded: it is cut off after {len(data)} of {max(ends)} bytes: fetch it again"
        )


def _iso_ends(data: bytes) -> list[int]:
    """Where each index and each part with frames should end; empty without an index (ISO 14496-12, 4.2)."""
    at, ends, indexed = 0, [], False
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size < 8:  # 0: to the end of the file
            size = len(data) - at
        if kind in (b"moov", b"mdat", b"moof"):
            ends.append(at + size)
            indexed = indexed or kind != b"mdat"
        at += size
    return ends if indexed else []


def _matroska_ends(data: bytes) -> list[int]:
    """Where the segment should end, if it is given (RFC 8794, 5 and 6; RFC 9559, 4.5)."""
    length, after = _vint(data, 4)
    at = after + (length or 0)
    if data[at : at + 4] != SEGMENT:
        return []
    size, after = _vint(data, at + 4)
    return [] if size is None else [after + size]


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """A length of variable width and where it ends; `None` if all bits are set, which means unknown."""
    width = 9 - data[at].bit_length() if at < len(data) and data[at] else 8
    bits = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if bits == (1 << 7 * width) - 1 else bits), at + width


def _avi_ends(data: bytes) -> list[int]:
    """Where each RIFF chunk should end; a size of 0 is one that was never filled in."""
    at, ends = 0, []
    while data[at : at + 4] == b"RIFF" and at + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        if not size:
            break
        at += 8 + size + size % 2
        ends.append(at - size % 2)
    return ends
