"""What the embedded teacher answers to a request: it reads the text and the pixels, and writes a verdict.

It never sees a label. What it answers, and how it errs, is a function of the request and the teacher's seed:
neither order, concurrency nor a restart changes an answer. `teacher_server` is how it is reached.
"""

import base64
import binascii
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from PIL import Image, UnidentifiedImageError

from models.pairs.preference import Preferred, Task
from models.shapes.assess import Assessment, Remark, Seen, assess_answers, assess_generation, draw_marks, totals
from models.shapes.perceive import perceive
from models.shapes.questions import answer_to, parse_question
from models.shapes.world import COLOURS, SHAPES, Scene, Shape, parse_caption
from models.verdict.grammar import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    QUOTE_CLOSE,
    QUOTE_OPEN,
    THINK_CLOSE,
    Dimension,
    Total,
    Verdict,
    answer_text,
    candidate_names,
)
from models.verdict.instructions import task_instructions
from models.verdict.prompts import PROMPT_LABEL
from models.verdict.rendering import render_verdict

Json = dict[str, Any]

OTHER_WORDS = {
    "as asked": "all as asked",
    "not as asked": "not all as asked",
    "as shown": "just as shown",
    "whole": "nothing cut off",
    "smooth": "moves smoothly",
}
SILENT_FIELDS = frozenset({"user", "metadata", "store", "stream", "n"})  # change no answer


class BadRequest(ValueError):
    """A request that this teacher cannot answer: the message gives the reason."""


@dataclass(frozen=True)
class Faults:
    """How often the teacher errs, each a share of the requests between 0 and 1."""

    wrong_perception: float = 0.0
    broken_grammar: float = 0.0
    rate_limited: float = 0.0
    server_error: float = 0.0


@dataclass(frozen=True)
class JudgingRequest:
    """What a request holds: the task, its prompt, two candidates (texts or frames), and the context's frames."""

    task: Task
    prompt: str
    texts: tuple[str, str]
    frames: tuple[list[Image.Image], list[Image.Image]]
    context: list[Image.Image]


def body_digest(body: Json) -> str:
    """sha256 of what matters in a request; `seed` does: asking again with another one gives another answer."""
    relevant = {name: value for name, value in body.items() if name not in SILENT_FIELDS}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def answer_request(body: Json, faults: Faults, seed: int) -> str:
    """The teacher's answer to the body of a chat completion. Raises `BadRequest` for one it cannot read."""
    rng = Random(f"{body_digest(body)}/{seed}")
    asked = read_request(body)
    misread = rng.random() < faults.wrong_perception
    broken = rng.random() < faults.broken_grammar
    text, verdict = _judge(asked, rng, misread)
    return break_grammar(text, verdict, rng) if broken else text


def answer_faultlessly(messages: list[Json], seed: int) -> str:
    """The verdict of a teacher without faults on messages whose images are decoded. Raises as `answer_request` does."""
    return _judge(read_request({"messages": messages}), Random(seed), misread=False)[0]


def read_request(body: Json) -> JudgingRequest:
    """Take a request apart into what it shows. Raises `BadRequest` if it is no judging request of this world."""
    parts = message_parts(body)
    opening = next((part["text"] for part in parts if part.get("type") == "text"), "")
    task = next((task for task in Task if task_instructions(task) in opening), None)
    if task is None:
        raise BadRequest("the request asks for none of the four judging tasks")
    label = f"{PROMPT_LABEL[task.judges_media]}: "
    names = [f"{name}:" for name in candidate_names(task)]
    prompt, at = "", 0
    texts = ["", ""]
    frames: tuple[list[Image.Image], ...] = ([], [], [])  # of the context and of both candidates
    for part in parts:
        if part.get("type") in ("image_url", "image"):
            frames[at].append(_image(part))
            continue
        text = part.get("text", "")
        if text.startswith(label):
            prompt = _unquoted(text.removeprefix(label))
        for index, name in enumerate(names):
            if text.startswith(name):
                at, texts[index] = index + 1, _unquoted(text.removeprefix(name))
    if not prompt:
        raise BadRequest(f"the request has no {label.strip()} part")
    return JudgingRequest(task, prompt, (texts[0], texts[1]), (frames[1], frames[2]), frames[0])


def _unquoted(text: str) -> str:
    return text.strip().removeprefix(QUOTE_OPEN).removesuffix(QUOTE_CLOSE).strip()


def message_parts(body: Json) -> list[Json]:
    """The content parts of all messages. Raises `BadRequest` for messages of another form."""
    try:
        contents = [message["content"] for message in body["messages"]]
        return [
            part
            for content in contents
            for part in ([{"type": "text", "text": content}] if isinstance(content, str) else content)
        ]
    except (KeyError, TypeError) as error:
        raise BadRequest("messages must be a list of {role, content}") from error


def _image(part: Json) -> Image.Image:
    if isinstance(decoded := part.get("image"), Image.Image):
        return decoded
    try:
        url: str = part["image_url"]["url"]
        data = base64.b64decode(url.partition("base64,")[2], validate=True)
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (KeyError, TypeError, binascii.Error, UnidentifiedImageError, OSError) as error:
        raise BadRequest("an image part must be a base64 data URL of an image") from error


def _judge(asked: JudgingRequest, rng: Random, misread: bool) -> tuple[str, Verdict]:
    """The teacher's honest verdict on what it perceives, and the verdict's text."""
    try:
        assessments = _assess(asked, rng, misread)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    scores = draw_marks(assessments, rng)
    dimensions = tuple(
        Dimension(one.dimension, marks, (_phrase(one.remarks[0], rng), _phrase(one.remarks[1], rng)))
        for one, marks in zip(assessments, scores, strict=True)
    )
    first, second = totals(scores)
    preferred: Preferred = 1 if first > second else 2
    verdict = Verdict.from_dimensions(asked.task, dimensions, preferred)
    return render_verdict(verdict), verdict


def _assess(asked: JudgingRequest, rng: Random, misread: bool) -> tuple[Assessment, ...]:
    if asked.task.judges_media:
        first, second = (_see(frames) for frames in asked.frames)
        if misread:
            first, second = (_misread(first, rng), second) if rng.random() < 0.5 else (first, _misread(second, rng))
        return assess_generation(asked.task, parse_caption(asked.prompt), (first, second))
    seen = _see(asked.context)
    truth = answer_to(parse_question(asked.prompt), (_misread(seen, rng) if misread else seen).scene)
    return assess_answers(asked.task, truth, asked.texts)


def _see(frames: Sequence[Image.Image]) -> Seen:
    """What frames show; looked at once for both presentation orders, which come one after the other."""
    return _seen(tuple((frame.size, frame.convert("RGB").tobytes()) for frame in frames))


@lru_cache(maxsize=8)
def _seen(frames: tuple[tuple[tuple[int, int], bytes], ...]) -> Seen:
    return perceive([Image.frombytes("RGB", size, pixels) for size, pixels in frames])


def _misread(seen: Seen, rng: Random) -> Seen:
    """What is seen with one shape's colour or form taken for another."""
    scene = seen.scene
    filled = [at for at, shape in enumerate(scene.places) if shape is not None] + ([-1] if scene.motion else [])
    if not filled:
        return seen
    place = rng.choice(filled)
    old = scene.motion.shape if place < 0 and scene.motion else scene.places[place]
    assert old is not None, "only filled places are misread"
    if rng.random() < 0.5:
        new = Shape(rng.choice([colour for colour in COLOURS if colour != old.colour]), old.shape)
    else:
        new = Shape(old.colour, rng.choice([form for form in SHAPES if form != old.shape]))
    return replace(seen, scene=_with_shape(scene, place, new))


def _with_shape(scene: Scene, place: int, shape: Shape) -> Scene:
    if place < 0 and scene.motion is not None:
        return replace(scene, motion=replace(scene.motion, shape=shape))
    return scene.put(place, shape)


def _phrase(remark: Remark, rng: Random) -> str:
    """The remark's words, at times in other words: few words, since a tiny model has to learn them."""
    others = OTHER_WORDS.get(remark.words)
    return others if others and rng.random() < 0.25 else remark.words


def break_grammar(text: str, verdict: Verdict, rng: Random) -> str:
    """The answer broken in one of six ways: four break the grammar, one its sums, one contradicts its totals."""
    names = candidate_names(verdict.task)
    right = answer_text(verdict.task, verdict.preferred)
    other = answer_text(verdict.task, 2 if verdict.preferred == 1 else 1)
    assert verdict.totals is not None, "the teacher writes its sums"
    total: Total = verdict.totals[0]
    sums = f"{'+'.join(map(str, total.terms))}="
    ways = (
        lambda: text.replace(f"{THINK_CLOSE}\n", ""),
        lambda: text.replace(f"({verdict.dimensions[0].scores[0]}/10)", "(12/10)", 1),
        lambda: f"Here is my verdict.\n{text}",
        lambda: text.replace(f"{ANSWER_OPEN}{right}", f"{ANSWER_OPEN}{names[0]} or {names[1]} is better"),
        lambda: text.replace(f"{sums}{total.value}", f"{sums}{total.value + 1}", 1),
        lambda: text.replace(f"{ANSWER_OPEN}{right}{ANSWER_CLOSE}", f"{ANSWER_OPEN}{other}{ANSWER_CLOSE}"),
    )
    return rng.choice(ways)()
