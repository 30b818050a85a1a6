"""What the tiny base model is taught before any recipe: to see, to compare, to add up, to judge directly.

Every lesson is a request and its answer in plain words. None holds a tag, a numbered line or a score out
of ten: the verdict grammar is the cold start's to teach. Only scenes of the training split are used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from PIL import Image

from models.preference import Media, Task
from models.prompts import Message, chat
from models.shapes.draw import Look, draw_scene
from models.shapes.pairs import MadePair, make_pair
from models.shapes.world import IMAGE_FLAWS, PLACES, VIDEO_FLAWS, Flaw, Level, random_scene, violate
from models.verdict import answer_text, candidate_names, mode_instructions

COMPARE = "Compare the two in plain words, one aspect after the other."
LOOK = "Say what you see."
ADD = "Add up and compare."


@dataclass(frozen=True)
class Lesson:
    """A request in chat form, the frames it shows by uri, and the answer to learn."""

    messages: list[Message]
    frames: dict[str, list[Image.Image]]
    answer: str


def draw_lesson(rng: Random, seed: int) -> Lesson:
    """One lesson of a random kind; half of them compare, a quarter judge directly."""
    kinds: list[Callable[[Random, int], Lesson]] = [_compare, _judge, _look, _add]
    return rng.choices(kinds, weights=[0.5, 0.25, 0.15, 0.1])[0](rng, seed)


def _some_pair(rng: Random, seed: int) -> MadePair:
    return make_pair(rng.choice(list(Task)), rng.getrandbits(40), seed=seed, held_out=False)


def _judge(rng: Random, seed: int) -> Lesson:
    made = _some_pair(rng, seed)
    return Lesson(chat(made.pair, "direct"), made.frames, answer_text(made.pair.task, made.pair.preferred))


def _compare(rng: Random, seed: int) -> Lesson:
    made = _some_pair(rng, seed)
    names = candidate_names(made.pair.task)
    lines = []
    for assessment in made.assessments:
        said = "; ".join(
            f"{name} {'good' if remark.good else 'poor'} - {remark.words}"
            for name, remark in zip(names, assessment.remarks, strict=True)
        )
        lines.append(f"{assessment.dimension}: {said}")
    messages = chat(made.pair, "direct")
    first = messages[0]["content"][0]
    first["text"] = first["text"].replace(mode_instructions("direct"), COMPARE)
    return Lesson(messages, made.frames, "\n".join(lines))


def _look(rng: Random, seed: int) -> Lesson:
    video = rng.random() < 0.5
    level = rng.choice(list(Level))
    while True:
        flaw: Flaw | None = rng.choice([*(VIDEO_FLAWS if video else IMAGE_FLAWS), None])
        scene = random_scene(rng, level, video=video, held_out=False)
        shown = violate(scene, flaw, level, rng) if flaw else scene
        if shown is not None:
            break
    seen = []
    if shown.motion is not None:
        seen.append(f"{shown.motion.shape} moving {shown.motion.direction}")
    seen += [f"{shape} at {PLACES[at]}" for at, shape in enumerate(shown.places) if shape is not None]
    words = {
        Flaw.NOISE: "noisy",
        Flaw.BLUR: "blurred",
        Flaw.CUT: "cut off",
        Flaw.FLICKER: "flickers",
        Flaw.JUMP: "jumps",
    }
    seen.append(words.get(flaw, "fine") if flaw else "fine")
    media = Media(kind="video" if video else "image", uri="seen", sha256="0" * 64)
    part = f"{media.kind}_url"
    content = [{"type": "text", "text": LOOK}, {"type": part, part: {"url": media.uri}}]
    frames = draw_scene(shown, Look.random(rng), flaw, level, rng)
    return Lesson([{"role": "user", "content": content}], {"seen": frames}, ", ".join(seen))


def _add(rng: Random, seed: int) -> Lesson:
    count = rng.randint(2, 5)
    rows = [[rng.randint(1, 10) for _ in range(count)] for _ in range(2)]
    first, second = (sum(row) for row in rows)
    asked = " and ".join(" ".join(map(str, row)) for row in rows)
    more = "both are equal" if first == second else f"the {'first' if first > second else 'second'} is more"
    sums = ", ".join(f"{'+'.join(map(str, row))}={sum(row)}" for row in rows)
    messages = [{"role": "user", "content": [{"type": "text", "text": f"{ADD} {asked}"}]}]
    return Lesson(messages, {}, f"{sums}: {more}")
