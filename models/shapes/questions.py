"""Questions about a scene of the embedded world, and their answers, right and wrong."""

from dataclasses import dataclass
from random import Random

from models.shapes.world import (
    DIRECTIONS,
    NEAR_COLOURS,
    PLACES,
    SHAPES,
    Level,
    Scene,
    Shape,
    other_colour,
    random_shape,
)

NUMBERS = ("zero", "one", "two", "three", "four", "five")


@dataclass(frozen=True)
class SceneQuestion:
    """One question: its text, and the kind of thing that answers it."""

    kind: str  # colour | form | what | where | count | way
    subject: str = ""

    def __str__(self) -> str:
        return {
            "colour": f"what colour is the {self.subject} ?",
            "form": f"what shape is {self.subject} ?",
            "what": f"what is at {self.subject} ?",
            "where": f"where is the {self.subject} ?",
            "count": "how many shapes are there ?",
            "way": f"which way does the {self.subject} move ?",
        }[self.kind]


_OPENINGS = {
    "what colour is the ": "colour",
    "what shape is ": "form",
    "what is at ": "what",
    "where is the ": "where",
    "how many shapes are there": "count",
    "which way does the ": "way",
}


def parse_question(text: str) -> SceneQuestion:
    """The question that a text asks. Raises `ValueError` for a text that is none of this world's."""
    for opening, kind in _OPENINGS.items():
        if text.startswith(opening):
            return SceneQuestion(kind, text[len(opening) :].removesuffix(" ?").removesuffix(" move"))
    raise ValueError(f"not a question of the shapes world: {text!r}")


def answer_to(question: SceneQuestion, scene: Scene) -> str:
    """The answer that `scene` gives; `nothing` where it shows no such thing."""
    shapes = [*scene.places, scene.motion.shape if scene.motion else None]
    there = [shape for shape in shapes if shape is not None]
    if question.kind == "count":
        return NUMBERS[len(there)]
    if question.kind == "way":
        return scene.motion.direction if scene.motion else "nothing"
    if question.kind == "what":
        return str(scene.places[PLACES.index(question.subject)] or "nothing")
    if question.kind == "where":
        places = [PLACES[at] for at, shape in enumerate(scene.places) if str(shape) == question.subject]
        return places[0] if places else "nothing"
    if question.kind == "colour":
        return next((shape.colour for shape in there if shape.shape == question.subject), "nothing")
    return next((shape.shape for shape in there if shape.colour == question.subject), "nothing")


IMAGE_QUESTIONS = ("colour", "form", "what", "where", "count")
VIDEO_QUESTIONS = (*IMAGE_QUESTIONS, "way")


def answered_kinds(scene: Scene) -> tuple[str, ...]:
    """The kinds of question that a scene answers. What is where is asked of shapes at rest alone."""
    lacking = (() if any(scene.places) else ("what", "where")) + (() if scene.motion else ("way",))
    return tuple(kind for kind in VIDEO_QUESTIONS if kind not in lacking)


def random_question(rng: Random, scene: Scene, kind: str | None = None) -> SceneQuestion:
    """A question that `scene` answers, of one of `answered_kinds` or of this one of them."""
    at_rest = [(at, shape) for at, shape in enumerate(scene.places) if shape is not None]
    moving = scene.motion.shape if scene.motion else None
    shapes = [shape for _, shape in at_rest] + ([moving] if moving else [])
    kind = kind or rng.choice(answered_kinds(scene))
    if kind == "count":
        return SceneQuestion(kind)
    if kind == "way":
        return SceneQuestion(kind, str(moving))
    if kind in ("what", "where"):
        place, shape = rng.choice(at_rest)
        return SceneQuestion(kind, PLACES[place] if kind == "what" else str(shape))
    shape = rng.choice(shapes)
    return SceneQuestion(kind, shape.shape if kind == "colour" else shape.colour)


def wrong_answer(rng: Random, question: SceneQuestion, right: str, level: Level) -> str:
    """An answer of the right kind that is wrong; at the hard level a close one."""
    if question.kind == "colour":
        return other_colour(right, level, rng)
    if question.kind == "form":
        return _other(rng, SHAPES, right)
    if question.kind == "where":
        return _other(rng, PLACES, right)
    if question.kind == "way":
        return _other(rng, DIRECTIONS, right)
    if question.kind == "count":
        near = [NUMBERS[at] for at in range(1, len(NUMBERS)) if abs(at - NUMBERS.index(right)) == 1]
        return rng.choice(near) if level is Level.HARD else _other(rng, NUMBERS[1:], right)
    return _wrong_shape(rng, right, level)


def _wrong_shape(rng: Random, right: str, level: Level) -> str:
    colour, form = right.split()
    if level is Level.HARD:
        return str(rng.choice([Shape(NEAR_COLOURS[colour], form), Shape(colour, _other(rng, SHAPES, form))]))
    while (other := str(random_shape(rng))) == right:
        pass
    return other


def _other(rng: Random, choices: tuple[str, ...], right: str) -> str:
    return rng.choice([choice for choice in choices if choice != right])
