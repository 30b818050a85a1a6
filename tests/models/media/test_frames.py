"""Frames of images, animations and archives: which are shown, what is refused."""

import base64
import contextlib
import io
import random
import struct
import zipfile

import pytest
from PIL import Image

from models.errors import MediaError
from models.media import frames as media
from models.media.frame_times import sample_frames
from models.media.frames import MAX_IMAGE_PIXELS, MediaInfo, data_url, decode, inspect, pack_frames, shrink
from tests.models.media.pictures import COLOURS, NOISE, chunk, encoded, plain

FILM = [plain(colour) for colour in COLOURS]


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
    return b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT")


def test_decompression_bombs_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(MediaError, match="400000000 pixels"):  # past twice the limit Pillow itself refuses
        decode(claimed(20_000, 20_000), "bomb", max_frames=8)
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(MediaError, match=f"10000x10000 pixels, above the limit of {MAX_IMAGE_PIXELS}"),
    ):
        decode(claimed(10_000, 10_000), "bomb", max_frames=8)


def test_a_phones_multi_picture_photograph_is_one_frame() -> None:
    (frame,) = decode(encoded([plain("red"), plain("blue")], "MPO"), "phone.jpg", max_frames=8)
    red, _, blue = frame.getpixel((4, 4))  # type: ignore[misc]
    assert red > 200 and blue < 50


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "JPEG", "TIFF", "BMP", "AVIF"])
def test_what_an_image_is_is_told_without_its_pixels(kind: str) -> None:
    assert inspect(encoded([NOISE], kind), "x") == MediaInfo("image", 64, 64, 1, 0.0)


def test_inspecting_refuses_what_decoding_does_by_its_header() -> None:
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(MediaError, match="above the limit"):
        inspect(claimed(10_000, 10_000), "bomb")
    with pytest.raises(MediaError, match="cannot be decoded: none of PNG"):
        inspect(b"<html>", "page.png")


def test_a_file_is_what_its_bytes_say_and_not_its_name() -> None:
    assert decode(encoded([plain("red")], "PNG"), "film.mp4", max_frames=1)[0].getpixel((0, 0)) == (255, 0, 0)


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


def test_a_progressive_jpeg_is_whole_or_refused() -> None:
    data = encoded([NOISE], "JPEG", progressive=True, quality=95)
    assert decode(data, "web.jpg", max_frames=1)[0].size == NOISE.size
    for kept in (len(data) * 9 // 10, len(data) // 2):  # coarse pictures, which browsers would show
        with pytest.raises(MediaError, match=r"^web\.jpg: cannot be decoded: "):
            decode(data[:kept], "web.jpg", max_frames=1)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_an_animation_is_sampled_by_the_time_that_its_frames_are_shown(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(FILM, kind, duration=[40] * 9 + [40], **options)
    held = encoded(FILM, kind, duration=[40] * 5 + [2000] + [40] * 4, **options)
    assert inspect(data, "film") == MediaInfo("video", 8, 8, 10, 0.4)
    shown = [frame.getpixel((4, 4)) for frame in decode(held, "film", max_frames=5)]
    assert shown == [FILM[at].getpixel((4, 4)) for at in (0, 5, 5, 5, 9)]


def bundled(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_a_zip_of_frames_is_a_video_in_the_order_of_their_names() -> None:
    members = {f"{at:06d}.png": encoded([frame]) for at, frame in enumerate(FILM)}
    data = bundled(dict(reversed(members.items())))
    shown = [frame.getpixel((4, 4)) for frame in decode(data, "film", max_frames=4)]
    assert shown == [FILM[at].getpixel((4, 4)) for at in (0, 3, 6, 9)]
    assert inspect(data, "film") == MediaInfo("video", 8, 8, 10, 0.0)


PICTURE = encoded([plain("red")])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (bundled({}), "cannot be decoded: it is an archive without frames"),
        (bundled({"0.png": bytes(10_000)}, zipfile.ZIP_DEFLATED), "cannot be decoded: it is a compressed archive"),
        (bundled({"0.png": PICTURE, "1.png": b"<html>"}), "cannot be decoded: none of PNG"),
        (bundled({"0.png": PICTURE, "1.png": NOISE.tobytes()}), "cannot be decoded: none of PNG"),
        (bundled({"0.png": PICTURE, "1.zip": bundled({"0.png": PICTURE})}), "cannot be decoded: none of PNG"),
        (bundled({"0.png": PICTURE})[:-30], "cannot be decoded: File is not a zip file"),  # without its index
        (bundled({"0.png": PICTURE}).replace(b"IDAT", b"IDAX"), "cannot be decoded: Bad CRC-32"),
        (bundled({f"{at:03d}.png": PICTURE for at in range(21)}), "has too many frames: 21, above the limit of 20"),
    ],
    ids=["empty", "compressed", "no image", "noise", "nested", "cut off", "damaged", "too many"],
)
def test_a_zip_that_is_no_video_is_refused(data: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_FRAMES", 20)
    with pytest.raises(MediaError) as caught:
        decode(data, "film.frames.zip", max_frames=8)
    assert caught.value.uri == "film.frames.zip" and caught.value.reason.startswith(said)


def test_a_bomb_within_a_zip_and_in_a_later_page_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_IMAGE_PIXELS", 100)
    said = r"^x: has too many pixels: 20x20 pixels, above the limit of 100"
    with pytest.raises(MediaError, match=said):
        decode(bundled({"0.png": PICTURE, "1.png": encoded([plain("red", (20, 20))])}), "x", max_frames=8)
    with pytest.raises(MediaError, match=said):
        decode(encoded([plain("red"), plain("blue", (20, 20))], "TIFF"), "x", max_frames=8)


def test_an_animation_beyond_the_limit_on_frames_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_FRAMES", 9)
    with pytest.raises(MediaError, match=r"^x: has too many frames: 10, above the limit of 9"):
        decode(encoded(FILM), "x", max_frames=2)


@pytest.mark.parametrize("size", [(400, 1), (1, 400), (2001, 10)])
def test_what_a_processor_would_refuse_for_its_proportions_is_refused_with_its_ratio(size: tuple[int, int]) -> None:
    ratio = f"{max(size) / min(size):.1f} to 1"
    with pytest.raises(MediaError, match=rf"thin\.png: is too narrow: .*{ratio}, above the limit of 200 to 1"):
        decode(encoded([Image.new("RGB", size)]), "thin.png", max_frames=1)
    frames = [("0", encoded([Image.new("RGB", (9, 9))])), ("1", encoded([Image.new("RGB", size)]))]
    with pytest.raises(MediaError, match=ratio):
        decode(pack_frames(frames), "thin.zip", max_frames=4)


@pytest.mark.parametrize("size", [(200, 1), (6000, 30), (30, 6000)])
def test_the_thinnest_picture_that_is_taken_is_still_taken_after_shrinking(size: tuple[int, int]) -> None:
    (frame,) = decode(encoded([Image.new("RGB", size)]), "thin.png", max_frames=1)
    small = shrink(frame, 147_456)
    assert max(small.size) <= 200 * min(small.size)
    assert small.width * small.height <= 147_456
