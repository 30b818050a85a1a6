"""A video gives frames spread over its time, upright, or an error that says what is wrong with the file."""

import contextlib
import io
import random
import struct
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from PIL import Image

from models.errors import MediaError
from models.media import video
from models.media.frames import decode
from models.media.video import container_of, decode_video, measure_video

SIZE = (64, 48)
RATE = 25
KINDS = {
    "mp4": ("libx264", "mp4"),
    "mov": ("mpeg4", "mov"),
    "webm": ("libvpx-vp9", "webm"),
    "vp8": ("libvpx", "webm"),
    "mkv": ("libx264", "matroska"),
    "avi": ("mpeg4", "avi"),
}


def scene(number: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A frame whose grey tells its number, in steps that no codec blurs, with a white corner at the top left."""
    picture = Image.new("RGB", size, (20 + 10 * number,) * 3)
    picture.paste((255, 255, 255), (0, 0, 16, 16))
    return picture


def film(
    kind: str = "mp4",
    numbers: Sequence[int] = tuple(range(10)),
    *,
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    codec: dict[str, str] | None = None,
    turn: tuple[Any, ...] = (),
    sound: bool = False,
) -> bytes:
    """A video of these scenes; `times` are in 1/25 s, `turn` is what PyAV's `set_display_rotation` takes."""
    name, container_name = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "film"  # a file, since `faststart` reads what it wrote
        with av.open(str(file), "w", format=container_name, options=options or {}) as container:
            stream = container.add_stream(name, rate=RATE, options=codec or {})
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            if turn:
                stream.set_display_rotation(*turn)
            heard = container.add_stream("aac", rate=8000) if sound else None
            assert heard is None or isinstance(heard, AudioStream)
            container.start_encoding()  # the header, also of a film without frames
            for at, number in enumerate(numbers):
                frame = av.VideoFrame.from_image(scene(number))  # type: ignore[no-untyped-call]
                frame.pts, frame.time_base = (times[at] if times else at), Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
            if heard is not None:
                container.mux(heard.encode(silence()))
                container.mux(heard.encode())
        return file.read_bytes()


def silence() -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts = 8000, 0
    return frame


def numbers_of(frames: list[Image.Image]) -> list[int]:
    """Which scenes these are."""
    return [round((frame.getpixel((40, 40))[1] - 20) / 10) for frame in frames]  # type: ignore[index]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_come_evenly_sampled_with_the_first_and_the_last(kind: str) -> None:
    data = film(kind)
    frames = decode_video(data, "film", max_frames=4)
    assert numbers_of(frames) == [0, 3, 6, 9]
    assert all(frame.mode == "RGB" and frame.size == SIZE for frame in frames)
    assert numbers_of(decode_video(data, "film", max_frames=1)) == [0]
    assert numbers_of(decode_video(data, "film", max_frames=100)) == list(range(10))


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_a_variable_frame_rate_is_sampled_by_time_and_not_by_number(kind: str) -> None:
    times = [0, 1, 2, 3, 4, 5, 6, 7, 8, 80]  # nine frames in a third of a second, then one after three seconds
    shown = numbers_of(decode_video(film(kind, times=times), "film", max_frames=5))
    assert shown == [0, 8, 8, 8, 9], "at 0, 20, 40, 60 and 80 a viewer sees these"


def test_a_video_that_begins_late_is_sampled_from_its_first_frame() -> None:
    late = film("mkv", times=[1000 + step for step in range(10)])
    assert numbers_of(decode_video(late, "film", max_frames=3)) in ([0, 4, 9], [0, 5, 9])


def test_frames_that_are_stored_in_another_order_than_shown_come_as_shown() -> None:
    data = film(codec={"bf": "3", "g": "10", "x264-params": "b-adapt=0:bframes=3"})
    with av.open(io.BytesIO(data), "r") as container:
        stored = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert stored != sorted(stored), "the fixture has B-frames"
    assert numbers_of(decode_video(data, "film", max_frames=10)) == list(range(10))


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_of_a_single_frame_gives_it_once(kind: str) -> None:
    assert numbers_of(decode_video(film(kind, [7]), "film", max_frames=8)) == [7]


def test_the_same_bytes_give_the_same_frames() -> None:
    data = film(numbers=range(20))
    once, again = (decode_video(data, "film", max_frames=7) for _ in range(2))
    assert [frame.tobytes() for frame in once] == [frame.tobytes() for frame in again]


@pytest.mark.parametrize(
    ("turn", "size", "corner"),
    [
        ((), (64, 48), "top left"),
        ((90,), (48, 64), "bottom left"),  # counter-clockwise, as FFmpeg says it
        ((180,), (64, 48), "bottom right"),
        ((270,), (48, 64), "top right"),
        ((0, True, False), (64, 48), "top right"),  # mirrored, as by a camera that faces its user
        ((0, False, True), (64, 48), "bottom left"),
    ],
)
def test_a_video_is_turned_and_mirrored_as_it_asks(turn: tuple[Any, ...], size: tuple[int, int], corner: str) -> None:
    data = film(turn=turn)
    (frame,) = decode_video(data, "phone.mp4", max_frames=1)
    assert frame.size == size == measure_video(data, "phone.mp4")[:2]
    corners = {
        f"{down} {across}": frame.getpixel((x, y))
        for down, y in (("top", 3), ("bottom", size[1] - 4))
        for across, x in (("left", 3), ("right", size[0] - 4))
    }
    assert max(corners, key=lambda name: corners[name]) == corner  # type: ignore[arg-type, return-value]


def test_sound_is_not_decoded() -> None:
    data = bytearray(film(sound=True))
    with av.open(io.BytesIO(data), "r") as container:
        places = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.pos is not None]
    assert places, "the fixture has sound"
    for start, size in places:
        data[start : start + size] = b"\xff" * size
    with av.open(io.BytesIO(data), "r") as container, pytest.raises(av.FFmpegError):
        list(container.decode(audio=0))
    assert numbers_of(decode_video(bytes(data), "film", max_frames=4)) == [0, 3, 6, 9]


def test_sound_without_pictures_is_refused() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        assert isinstance(stream, AudioStream)
        container.mux(stream.encode(silence()))
        container.mux(stream.encode())
    with pytest.raises(MediaError, match=r"^song\.mp4: cannot be decoded: it holds no video"):
        decode_video(buffer.getvalue(), "song.mp4", max_frames=8)


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_a_video_without_frames_is_refused(kind: str) -> None:
    with pytest.raises(MediaError, match=r"^film: cannot be decoded: it holds no (frame|video)"):
        decode_video(film(kind, []), "film", max_frames=8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_off_is_refused_and_says_so(kind: str) -> None:
    data = film(kind, options={"movflags": "faststart"} if kind in ("mp4", "mov") else {})
    for kept in (len(data) - 1, len(data) * 3 // 4, len(data) // 2):
        with pytest.raises(MediaError, match=r"^film: cannot be decoded: it is cut off after \d+ of \d+ bytes"):
            decode_video(data[:kept], "film", max_frames=8)


def test_a_file_that_is_cut_off_before_its_index_is_refused_and_says_so() -> None:
    data = film()  # whose index stands at its end
    with pytest.raises(MediaError, match=r"no index \(moov\) and is cut off"):
        decode_video(data[: len(data) // 2], "film", max_frames=8)


def test_a_recording_without_a_length_is_read_as_far_as_it_goes() -> None:
    data = film("webm", range(20), options={"live": "1"}, codec={"g": "1"})
    frames = decode_video(data[: len(data) * 2 // 3], "live.webm", max_frames=100)
    assert 5 < len(frames) < 20 and numbers_of(frames) == list(range(len(frames)))


def test_a_fragmented_file_is_read() -> None:
    data = film(options={"movflags": "frag_keyframe+empty_moov"}, codec={"g": "2"})
    assert numbers_of(decode_video(data, "film", max_frames=4)) == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("MAX_FRAME_PIXELS", 64 * 48 - 1, r"has too many pixels: 64x48 a frame, above the limit of 3071"),
        ("MAX_FRAMES", 9, r"has too many frames: more than 9, the limit"),
        ("MAX_SECONDS", 0.3, r"is too long: 0\.4 s, above the limit of 0\.3"),
    ],
)
def test_each_limit_is_named_by_the_error(monkeypatch: pytest.MonkeyPatch, limit: str, value: float, said: str) -> None:
    data = film()
    monkeypatch.setattr(video, limit, value)
    with pytest.raises(MediaError, match=said) as caught:
        decode_video(data, "film.mp4", max_frames=2)
    assert caught.value.uri == "film.mp4"


def test_a_video_within_each_limit_by_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = film()
    for limit, value in (("MAX_FRAME_PIXELS", 64 * 48), ("MAX_FRAMES", 10), ("MAX_SECONDS", 0.4)):
        monkeypatch.setattr(video, limit, value)
    assert len(decode_video(data, "film", max_frames=2)) == 2


def test_a_video_that_draws_on_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.mp4").write_bytes(film())
    playlist = f"ffconcat version 1.0\nfile '{tmp_path}/one.mp4'\n".encode()
    for data in (playlist, b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/one.ts\n#EXT-X-ENDLIST\n"):
        assert container_of(data) is None
        with pytest.raises(MediaError, match=r"^list: cannot be decoded: none of "):
            decode(data, "list", max_frames=2)


@pytest.mark.parametrize(("kind", "container"), [("mp4", "mov"), ("mov", "mov"), ("webm", "matroska"), ("avi", "avi")])
def test_a_container_is_known_by_its_bytes_and_not_by_its_name(kind: str, container: str) -> None:
    data = film(kind)
    assert container_of(data) == container
    assert numbers_of(decode(data, "picture.png", max_frames=4)) == [0, 3, 6, 9]


def test_an_image_is_no_container() -> None:
    for kind in ("PNG", "JPEG", "AVIF", "WEBP"):
        buffer = io.BytesIO()
        scene(0).save(buffer, kind)
        assert container_of(buffer.getvalue()) is None
    assert container_of(b"") is None


@pytest.mark.parametrize("kind", ["mp4", "webm", "avi"])
def test_a_video_is_measured_without_decoding_it(kind: str) -> None:
    width, height, frames, seconds = measure_video(film(kind), "film")
    assert (width, height, frames) == (*SIZE, 10)
    assert seconds == pytest.approx(10 / RATE, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_broken_bytes_raise_nothing_but_a_media_error(kind: str) -> None:
    rng = random.Random(kind)
    whole = film(kind, codec={"g": "5"})
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 10))):
            data[rng.randrange(rng.choice((64, len(data))))] = rng.randrange(256)
        with contextlib.suppress(MediaError):
            decode_video(bytes(data), "x", max_frames=4)


def test_a_duration_that_lies_changes_nothing() -> None:
    data = bytearray(film())
    at = data.index(b"mvhd") + 4 + 16  # ISO 14496-12, 8.2.2: the duration of version 0
    struct.pack_into(">I", data, at, 0xFFFFFFFF)
    assert numbers_of(decode_video(bytes(data), "film", max_frames=4)) == [0, 3, 6, 9]


def test_times_ascend_in_every_container() -> None:
    for kind in KINDS:
        shown = numbers_of(decode_video(film(kind, range(12)), "film", max_frames=12))
        assert all(earlier < later for earlier, later in pairwise(shown))
