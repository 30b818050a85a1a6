"""What tests/proofs/fuzz.py gives spoiled input to, and how that input is made: good examples, changed at random."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any

import av
from fastapi.testclient import TestClient
from PIL import Image

from models.errors import MediaError
from models.media.frames import decode, inspect, pack_frames
from models.pairs.preference import Task
from models.verdict.grammar import Dimension, Malformed, Mode, Verdict, candidate_names
from models.verdict.lenient import parse_lenient
from models.verdict.parsing import parse_answer, parse_verdict
from models.verdict.rendering import render_verdict
from tests.proofs.fuzz_listings import benchmark_listing, check_listing, listing
from tests.proofs.fuzz_spoiling import bent, spoiled, written

Check = Callable[[bytes], None]
MODES: tuple[Mode, ...] = ("think", "direct")


class FoundError(Exception):
    """A promise that an input broke without an error of its own."""


@dataclass(frozen=True)
class Target:
    """`make` an example, and what checks it: that raises what the code under it may not raise."""

    make: Callable[[Random], bytes]
    opened: Callable[[], AbstractContextManager[Check]]


def without_set_up(check: Check) -> Callable[[], AbstractContextManager[Check]]:
    """A check that needs nothing to be started."""

    @contextmanager
    def opened() -> Iterator[Check]:
        yield check

    return opened


# Verdicts


def _verdict(rng: Random) -> bytes:
    task = rng.choice(list(Task))
    names = candidate_names(task)
    dimensions = tuple(
        Dimension(f"Part {at}", (rng.randint(1, 10), rng.randint(1, 10)), ("good", "bad; so so"))
        for at in range(rng.randint(1, 5))
    )
    text = render_verdict(Verdict.from_dimensions(task, dimensions, rng.choice((1, 2))))
    pieces = (
        "<think>", "</think>", "<answer>", "</answer>", "Total score:", *names, f"; {names[1]}", " (8/10) - ",
        "7.5/10", ": 8+7=15", "1. ", "2. A:", "[A]:", "\n", "\r\n", "\u2028", "\u00a0", "**", "```", "٣", "\ud800", "|",
        ".", "is better", "Both images are equally good", "(" * 50, ": " * 50, "+1" * 50, "9" * 20, "/10", " ",
    )  # fmt: skip
    for _ in range(rng.choice((0, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(text) + 1)
        cut = at + rng.choice((0, 0, 1, 3, 10, 40))
        text = text[:at] + rng.choice(pieces) * rng.choice((1, 1, 1, 2, 300)) + text[cut:]
    return json.dumps([str(task), text]).encode()


def _check_verdict(data: bytes) -> None:
    name, text = json.loads(data)
    task = Task(name)
    parse_answer(text, task)
    for mode in MODES:
        strict, lenient = parse_verdict(text, task, mode=mode), parse_lenient(text, task, mode=mode)
        if isinstance(strict, Verdict) and lenient != strict:
            raise FoundError("the lenient reading differs from the grammar's own")
        if isinstance(strict, Malformed) and not 0 <= strict.position <= len(text):
            raise FoundError("the position is outside the text")
        if isinstance(strict, Verdict) and parse_verdict(render_verdict(strict, mode=mode), task, mode=mode) != strict:
            raise FoundError("a verdict that was read is written as another")


# Media


def _stills() -> Iterator[bytes]:
    noise = Image.effect_noise((48, 40), 90).convert("RGB")
    frames = [noise.rotate(30 * at) for at in range(3)]
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM"):
        buffer = io.BytesIO()
        more = {"save_all": True, "append_images": frames[1:], "duration": 40}
        noise.save(buffer, kind, **(more if kind in ("PNG", "GIF", "WEBP", "TIFF") else {}))
        yield buffer.getvalue()
    yield pack_frames([(f"{at}.png", next(_one_png(frame))) for at, frame in enumerate(frames)])


def _one_png(frame: Image.Image) -> Iterator[bytes]:
    buffer = io.BytesIO()
    frame.save(buffer, "PNG")
    yield buffer.getvalue()


def _films() -> Iterator[bytes]:
    for codec, container in (
        ("mpeg4", "mp4"),
        ("libvpx", "webm"),
        ("mjpeg", "avi"),
        ("mpeg4", "matroska"),
        ("h264", "mp4"),
    ):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=container) as film:
            stream: Any = film.add_stream(codec, rate=25)
            stream.width, stream.height = 48, 40
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for at in range(8):
                image = Image.new("RGB", (48, 40), (30 * at, 0, 90))
                frame: Any = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
                frame.pts, frame.time_base = at, Fraction(1, 25)
                film.mux(stream.encode(frame))
            film.mux(stream.encode(None))
        yield buffer.getvalue()


_MEDIA: list[bytes] = []


def _medium(rng: Random) -> bytes:
    if not _MEDIA:
        _MEDIA.extend([*_stills(), *_films()])
    return spoiled(rng, rng.choice(_MEDIA))


def _check_medium(data: bytes) -> None:
    for read in (lambda: inspect(data, "x"), lambda: decode(data, "x", max_frames=4)):
        try:
            read()
        except MediaError as error:
            str(error).encode()


# Bodies of requests to the service


def _bodies() -> list[tuple[str, dict[str, Any]]]:
    still = base64.b64encode(next(_one_png(Image.new("RGB", (56, 56), "red")))).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{still}"}}
    asked = {"task": "image_generation", "prompt": "a kite", "mode": "direct"}
    answers = {"candidate_1": "a", "candidate_2": "b"}
    return [
        ("/v1/compare", {**asked, "candidate_1": still, "candidate_2": still, "both_orders": False}),
        ("/v1/compare", {**asked, "task": str(Task.IMAGE_UNDERSTANDING), **answers, "media": still}),
        ("/v1/rank", {**asked, "candidates": [still, still], "most": 1, "confidence": 0.9}),
        ("/v1/chat/completions", {
            "messages": [{"role": "user", "content": [picture, {"type": "text", "text": "What?"}]}],
            "model": "base", "max_tokens": 2, "temperature": 0.5, "n": 1, "seed": 3, "stream": False,
            "chat_template_kwargs": {"enable_thinking": False},
        }),
    ]  # fmt: skip


def _body(rng: Random) -> bytes:
    route, good = rng.choice(_bodies())
    data = written(bent(rng, good)).encode()
    return route.encode() + b"\n" + (spoiled(rng, data) if rng.random() < 0.3 else data)


@contextmanager
def _service() -> Iterator[Check]:
    from configs.load import load_settings
    from tasks.serving.app import make_app

    app = make_app("base", load_settings("shapes", ["evaluate.max_tokens=4", "serve.max_body_mib=2"]))
    with TestClient(app, raise_server_exceptions=False) as client:

        def check(data: bytes) -> None:
            route, _, body = data.partition(b"\n")
            answer = client.post(route.decode(), content=body, headers={"content-type": "application/json"})
            if answer.status_code >= 500:
                raise FoundError(f"{route.decode()} answered {answer.status_code}: {answer.text[:300]}")
            if answer.status_code >= 400 and not answer.json()["error"]["message"]:
                raise FoundError("a refusal without a reason")

        yield check


TARGETS = {
    "verdict": Target(_verdict, without_set_up(_check_verdict)),
    "readers": Target(listing, without_set_up(check_listing)),
    "benchmarks": Target(benchmark_listing, without_set_up(check_listing)),
    "media": Target(_medium, without_set_up(_check_medium)),
    "service": Target(_body, _service),
}
