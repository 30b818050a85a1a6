"""What the tiny base model is taught before any recipe: to see, to compare, to add up, to judge directly.

Every lesson is a request and its answer in plain words. None holds a tag or a line of the verdict grammar,
which is the cold start's to teach. Only scenes of the training split are used.
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
from models.verdict import answer_text, candidate_names, mode_instructions, task_instructions

COMPARE = "Compare the two in plain words, one aspect after the other."
FIT = "Does it fit?"
LOOK = "Say what you see."
ADD = "Add up and compare."


@dataclass(frozen=True)
class Lesson:
    """A request in chat form, the frames it shows by uri, and the answer to learn."""

    messages: list[Message]
    frames: dict[str, list[Image.Image]]
    answer: str


def draw_lesson(rng: Random, seed: int) -> Lesson:
    """One lesson of a random kind: does it fit, how do two compare, which is better, what is there, sums."""
    kinds: list[Callable[[Random, int], Lesson]] = [_fit, _compare, _judge, _look, _add]
    return rng.choices(kinds, weights=[0.4, 0.3, 0.15, 0.1, 0.05])[0](rng, seed)


def _some_pair(rng: Random, seed: int) -> MadePair:
    return make_pair(rng.choice(list(Task)), rng.getrandbits(40), seed=seed, held_out=False)


def _judge(rng: Random, seed: int) -> Lesson:
    made = _some_pair(rng, seed)
    return Lesson(chat(made.pair, "direct"), made.frames, answer_text(made.pair.task, made.pair.preferred))


def _fit(rng: Random, seed: int) -> Lesson:
    """One candidate alone: yes or no, evenly, and why. The short road to the comparison of wanted with shown."""
    made = _some_pair(rng, seed)
    which = rng.randrange(2)
    message = chat(made.pair, "direct")[0]
    parts = message["content"]
    size = 2 if made.pair.task.judges_media else 1  # message parts a candidate: its name and medium, or its text
    shared, own = parts[1 : -2 * size], parts[len(parts) - (2 - which) * size :][:size]
    content = [{"type": "text", "text": f"{task_instructions(made.pair.task)}\n{FIT}"}, *shared, *own]
    shown = {media.uri for media in (*made.pair.context, made.pair.candidates[which].media) if media is not None}
    frames = {uri: one for uri, one in made.frames.items() if uri in shown}
    remarks = [(assessment.dimension, assessment.remarks[which]) for assessment in made.assessments]
    said = [f"{aspect}: {remark.words}, {'good' if remark.good else 'poor'}" for aspect, remark in remarks]
    fits = "yes" if made.pair.preferred == which + 1 else "no"
    return Lesson([{**message, "content": content}], frames, f"{fits}. {'. '.join(said)}")


def _compare(rng: Random, seed: int) -> Lesson:
    """A comparison in one of the wordings: each is asked for by its own request, the same for all four tasks.

    That what is said and how it is said come apart is what lets a wording learned on one task serve the others.
    """
    made = _some_pair(rng, seed)
    asked = rng.choice(list(WORDINGS))
    messages = chat(made.pair, "direct")
    first = messages[0]["content"][0]
    first["text"] = first["text"].replace(mode_instructions("direct"), asked)
    return Lesson(messages, made.frames, WORDINGS[asked](_marked(made, rng)))


@dataclass(frozen=True)
class _Marked:
    """A pair's comparison with marks: by aspect, then by candidate."""

    names: tuple[str, str]
    aspects: tuple[str, ...]
    words: tuple[tuple[str, str], ...]
    good: tuple[tuple[bool, bool], ...]
    marks: tuple[tuple[int, int], ...]
    conclusion: str

    def sum_of(self, candidate: int) -> str:
        """`9+8+9=26`, or by marks alone."""
        marks = [both[candidate] for both in self.marks]
        return f"{'+'.join(map(str, marks))}={sum(marks)}"


def _marked(made: MadePair, rng: Random) -> _Marked:
    def mark(good: bool) -> int:
        return rng.choice((8, 9) if good else (2, 3, 4))

    pairs = [assessment.remarks for assessment in made.assessments]
    return _Marked(
        names=candidate_names(made.pair.task),
        aspects=tuple(assessment.dimension for assessment in made.assessments),
        words=tuple((first.words, second.words) for first, second in pairs),
        good=tuple((first.good, second.good) for first, second in pairs),
        marks=tuple((mark(first.good), mark(second.good)) for first, second in pairs),
        conclusion=answer_text(made.pair.task, made.pair.preferred),
    )


def _graded(m: _Marked) -> str:
    def grade(good: bool) -> str:
        return "good" if good else "poor"

    rows = zip(m.aspects, m.good, m.words, strict=True)
    return "\n".join(
        f"{aspect}: {m.names[0]} {grade(good[0])} - {words[0]}; {m.names[1]} {grade(good[1])} - {words[1]}"
        for aspect, good, words in rows
    )


def _in_marks(m: _Marked) -> str:
    rows = zip(m.aspects, m.marks, m.words, strict=True)
    lines = [
        f"{aspect}: {m.names[0]} {marks[0]} of ten as it {words[0]}, {m.names[1]} {marks[1]} of ten as it {words[1]}."
        for aspect, marks, words in rows
    ]
    return "\n".join([*lines, f"All in all {m.names[0]} {m.sum_of(0)}, {m.names[1]} {m.sum_of(1)}.", m.conclusion])


def _marks_alone(m: _Marked) -> str:
    lines = [f"{aspect} {marks[0]} and {marks[1]}" for aspect, marks in zip(m.aspects, m.marks, strict=True)]
    return "\n".join([*lines, f"so {m.sum_of(0)} and {m.sum_of(1)}", m.conclusion])


def _marks_last(m: _Marked) -> str:
    rows = zip(m.aspects, m.marks, m.words, strict=True)
    lines = [
        f"* {aspect} = {m.names[0]} {words[0]}, {marks[0]} / {m.names[1]} {words[1]}, {marks[1]}"
        for aspect, marks, words in rows
    ]
    sums = [f"* {name} has {m.sum_of(at)}" for at, name in enumerate(m.names)]
    return "\n".join(["*", *lines, *sums, f"* {m.conclusion} *"])


def _conclusion_first(m: _Marked) -> str:
    return f"{m.conclusion}. {_graded(m)}"


def _one_after_the_other(m: _Marked) -> str:
    lines = []
    for at, name in enumerate(m.names):
        said = ", ".join(
            f"{a} {marks[at]} ({words[at]})" for a, marks, words in zip(m.aspects, m.marks, m.words, strict=True)
        )
        lines.append(f"{name}: {said}. Sum {m.sum_of(at)}")
    return "\n".join([*lines, m.conclusion])


WORDINGS: dict[str, Callable[[_Marked], str]] = {
    COMPARE: _graded,
    "Compare in marks.": _in_marks,
    "Give the marks alone.": _marks_alone,
    "List with marks last.": _marks_last,
    "Say which and why.": _conclusion_first,
    "Take one after the other.": _one_after_the_other,
}


def _look(rng: Random, seed: int) -> Lesson:
    video = rng.random() < 0.5
    level = rng.choice(list(Level))
    while True:
        flaw: Flaw | None = rng.choice([*(VIDEO_FLAWS if video else IMAGE_FLAWS), None])
        scene = random_scene(rng, level, video=video, held_out=False)
        shown = violate(scene, flaw, level, rng) if flaw else scene
        if shown is not None and not shown.held_out:
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
