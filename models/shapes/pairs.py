"""Preference pairs of the embedded world, their media as bytes, and the truth they were built from.

A pair is a pure function of (seed, split, task, number): nothing else enters, so any subset can be
made anywhere in any order.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from PIL import Image

from models.pairs.preference import Candidate, Media, PreferencePair, Preferred, Task
from models.shapes.assess import Assessment, Seen, assess_answers, assess_generation
from models.shapes.draw import Look, draw_scene, encode
from models.shapes.questions import (
    IMAGE_QUESTIONS,
    VIDEO_QUESTIONS,
    answer_to,
    answered_kinds,
    random_question,
    wrong_answer,
)
from models.shapes.world import IMAGE_FLAWS, TIMES, VIDEO_FLAWS, Flaw, Level, Scene, caption_of, random_scene, violate

KINDS: Mapping[Task, tuple[str, ...]] = {
    Task.IMAGE_GENERATION: tuple(flaw.value for flaw in IMAGE_FLAWS),
    Task.IMAGE_UNDERSTANDING: IMAGE_QUESTIONS,
    Task.VIDEO_GENERATION: tuple(flaw.value for flaw in VIDEO_FLAWS),
    Task.VIDEO_UNDERSTANDING: VIDEO_QUESTIONS,
}
LEVEL_WEIGHTS: Mapping[Level, float] = {Level.EASY: 0.3, Level.NORMAL: 0.4, Level.HARD: 0.3}


@dataclass(frozen=True)
class MadePair:
    """A pair with everything that was known when it was made.

    `blobs` maps each medium's uri to its encoded bytes, `frames` to its decoded frames; `seen` and
    `assessments` are the truth, for pretraining and tests alone: they reach no dataset.
    """

    pair: PreferencePair
    scene: Scene
    level: Level
    assessments: tuple[Assessment, ...]
    seen: tuple[Seen, ...]
    frames: dict[str, list[Image.Image]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


def make_pair(
    task: Task,
    number: int,
    *,
    seed: int,
    held_out: bool,
    validation: bool = False,
    levels: Mapping[Level, float] = LEVEL_WEIGHTS,
) -> MadePair:
    """The pair `number` of a task and split. Even numbers prefer the first candidate, odd ones the second.

    Its kind (of flaw, or of question) is by turns too, each for a pair of numbers. `number_at` is the order in which
    a split takes them, so that all kinds have equal shares.

    `validation` pairs have random numbers and names of their own; their scenes are those that training is drawn from.
    """
    split = "held_out" if held_out else "validation" if validation else "train"
    rng = Random(f"{seed}/{split}/{task}/{number}")
    level = rng.choices(list(levels), weights=list(levels.values()))[0]
    preferred: Preferred = 1 if number % 2 == 0 else 2
    name = f"shapes-{split}-{task}-{level}-{number:06d}"
    make = _generation if task.judges_media else _understanding
    kinds = KINDS[task]
    return make(rng, task, kinds[number // 2 % len(kinds)], level, preferred, name, held_out)


def number_at(task: Task, place: int) -> int:
    """The number of the pair at a place of a split, counted from 0.

    One kind after the other has its turn, and each prefers the first candidate one time and the second the next. So
    among the first n pairs of a task the shares of its kinds differ by one pair at most, as do those of both labels;
    they are equal where n is a multiple of the number of kinds.

    >>> [number_at(Task.IMAGE_UNDERSTANDING, place) for place in range(6)]  # of five kinds
    [0, 3, 4, 7, 8, 1]
    """
    turn, kind = divmod(place, len(KINDS[task]))
    return 2 * (kind + turn // 2 * len(KINDS[task])) + (kind + turn) % 2


def _generation(
    rng: Random, task: Task, kind: str, level: Level, preferred: Preferred, name: str, held_out: bool
) -> MadePair:
    flaw = Flaw(kind)
    while True:
        scene = random_scene(rng, level, video=task is Task.VIDEO_GENERATION, held_out=held_out)
        broken = violate(scene, flaw, level, rng)
        if broken is not None and broken.held_out == held_out:  # what is shown is of the split too
            break
    looks = (Look.random(rng), Look.random(rng))
    good = draw_scene(scene, looks[0], None, level, rng)
    bad = draw_scene(broken, looks[1], flaw, level, rng)
    seen = (as_seen(scene, None, looks[0]), as_seen(broken, flaw, looks[1]))
    drawn = (good, bad)
    if preferred == 2:
        seen, drawn = (seen[1], seen[0]), (bad, good)
    shown = ShownMedia(task)
    pair = PreferencePair(
        id=name,
        task=task,
        prompt=caption_of(scene),
        candidates=(Candidate(media=shown.add(drawn[0])), Candidate(media=shown.add(drawn[1]))),
        preferred=preferred,
        source="shapes",
        group=flaw.value,
    )
    assessments = assess_generation(task, scene, seen)
    return MadePair(pair, scene, level, assessments, seen, shown.frames, shown.blobs)


def as_seen(scene: Scene, flaw: Flaw | None, look: Look) -> Seen:
    """How a scene drawn with a flaw of rendering (or without one) is rightly perceived."""
    quality = {Flaw.NOISE: "noisy", Flaw.BLUR: "blurred"}.get(flaw, "clean") if flaw else "clean"
    flow = {Flaw.FLICKER: "flickers", Flaw.JUMP: "jumps"}.get(flaw, "smooth") if flaw else "smooth"
    path = scene.motion.path(TIMES, flow, look.spoiled) if scene.motion else ()
    return Seen(scene, quality=quality, cut=flaw is Flaw.CUT, flow=flow, path=path)


def _understanding(
    rng: Random, task: Task, kind: str, level: Level, preferred: Preferred, name: str, held_out: bool
) -> MadePair:
    video = task is Task.VIDEO_UNDERSTANDING
    scene = random_scene(rng, level, video=video, held_out=held_out)
    while kind not in answered_kinds(scene):
        scene = random_scene(rng, level, video=video, held_out=held_out)
    question = random_question(rng, scene, kind)
    right = answer_to(question, scene)
    wrong = wrong_answer(rng, question, right, level)
    answers = (right, wrong) if preferred == 1 else (wrong, right)
    look = Look.random(rng)
    shown = ShownMedia(task)
    pair = PreferencePair(
        id=name,
        task=task,
        prompt=str(question),
        context=(shown.add(draw_scene(scene, look, None, level, rng)),),
        candidates=(Candidate(text=answers[0]), Candidate(text=answers[1])),
        preferred=preferred,
        source="shapes",
        group=question.kind,
    )
    assessments = assess_answers(task, right, answers)
    return MadePair(pair, scene, level, assessments, (as_seen(scene, None, look),), shown.frames, shown.blobs)


class ShownMedia:
    """Collects the media of one pair under names made of their own digests."""

    def __init__(self, task: Task) -> None:
        self.kind = task.media_kind
        self.frames: dict[str, list[Image.Image]] = {}
        self.blobs: dict[str, bytes] = {}

    def add(self, frames: list[Image.Image]) -> Media:
        """Encode and name one medium."""
        data = encode(frames)
        digest = hashlib.sha256(data).hexdigest()
        uri = f"{digest}.png"
        self.frames[uri], self.blobs[uri] = frames, data
        return Media(kind=self.kind, uri=uri, sha256=digest)
