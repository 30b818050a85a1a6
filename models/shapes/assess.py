"""Comparing what was wanted with what is seen, in the world's own plain words.

The teacher calls this with what it perceives in the pixels; the base model's pretraining with what was
drawn. One wording for both: *wanted* and *seen* are side by side, word by word.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random

from models.pairs.preference import Task
from models.shapes.world import PLACES, Motion, Scene, Shape
from models.verdict.grammar import CORE_DIMENSIONS

GOOD, POOR = (8, 9), (2, 3, 4)  # the marks that a good and a poor remark may get, of ten


@dataclass(frozen=True)
class Seen:
    """One candidate or context medium as perceived: its content, and how it is rendered."""

    scene: Scene
    quality: str = "clean"  # clean | noisy | blurred
    cut: bool = False
    flow: str = "smooth"  # smooth | flickers | jumps; of videos only
    path: tuple[str, ...] = ()  # where a video's moving shape is in each frame: a place, or `nothing`


@dataclass(frozen=True)
class Remark:
    """The remark of one dimension on one candidate: whether it is good, and why."""

    good: bool
    words: str


@dataclass(frozen=True)
class Assessment:
    """The remarks of one dimension on both candidates."""

    dimension: str
    remarks: tuple[Remark, Remark]


def compare_content(wanted: Scene, seen: Scene) -> Remark:
    """`top left blue red differs, circle circle same`: place by place, each word shown and beside it the one asked for.

    Places where shapes are asked for come first, then those with a shape too many.
    """
    checks: list[tuple[str, str, str]] = []
    if wanted.motion is not None:
        checks.append(("moving", _moving(wanted.motion), _moving(seen.motion)))
    for place in sorted(range(len(PLACES)), key=lambda place: wanted.places[place] is None):
        want, show = wanted.places[place], seen.places[place]
        if want is not None or show is not None:
            checks.append((PLACES[place], _named(want), _named(show)))
    words = ", ".join(f"{where} {side_by_side(show, want)}" for where, want, show in checks)
    return Remark(good=all(want == show for _, want, show in checks), words=words)


def side_by_side(shown: str, asked: str) -> str:
    """`blue red differs, circle circle same`: what is compared is next to each other, what is shown first.

    Whether two words are the same is hard for a tiny model to see across a sentence (it did not learn it in
    4000 steps of 32), and easy for neighbours. Beside a word just written, one that is mostly the same would be
    repeated without looking.
    """
    pairs = zip_longest(shown.split(), asked.split(), fillvalue="nothing")
    return ", ".join(f"{one} {other} {'same' if one == other else 'differs'}" for one, other in pairs)


def assess_generation(task: Task, wanted: Scene, seen: tuple[Seen, Seen]) -> tuple[Assessment, ...]:
    """The three dimensions of a generation pair; the consistency with the caption last, as it follows from the checks.

    A score comes before its rationale. So the checks of every shape come with the first dimension, which
    judges the rendering alone, and the score that depends on them can be read off what is already written.
    """
    consistency, second, third = CORE_DIMENSIONS[task]
    contents = [compare_content(wanted, one.scene) for one in seen]
    quality = _both(
        Remark(one.quality == "clean", ", ".join([*opening_words(one), content.words]))
        for one, content in zip(seen, contents, strict=True)
    )
    if task is Task.IMAGE_GENERATION:
        names = (second, third)
        other = _both(Remark(not one.cut, "cut off" if one.cut else "whole") for one in seen)
    else:
        names = (third, second)
        other = _both(Remark(one.flow == "smooth", one.flow) for one in seen)
    asked = _both(Remark(content.good, "as asked" if content.good else "not as asked") for content in contents)
    return (Assessment(names[0], quality), Assessment(names[1], other), Assessment(consistency, asked))


def opening_words(seen: Seen) -> list[str]:
    """What comes first on a picture or video: how it is drawn, and where its moving shape is, frame by frame."""
    return [seen.quality, *([f"goes {' '.join(seen.path)}"] if seen.path else [])]


def assess_answers(task: Task, truth: str, answers: tuple[str, str]) -> tuple[Assessment, ...]:
    """The three dimensions of two answers to a question whose right answer is `truth`, checks first here too."""
    accuracy, correctness, clarity = CORE_DIMENSIONS[task]
    good = [answer == truth for answer in answers]
    checks = _both(Remark(True, f"plain, shows {side_by_side(truth, answer)}") for answer in answers)
    return (
        Assessment(clarity, checks),
        Assessment(correctness, _both(Remark(ok, "right" if ok else "wrong") for ok in good)),
        Assessment(accuracy, _both(Remark(ok, "as shown" if ok else "not as shown") for ok in good)),
    )


def draw_marks(assessments: Sequence[Assessment], rng: Random) -> list[tuple[int, int]]:
    """A pair of marks for each assessment, drawn again until the sums differ: a verdict knows no tie."""
    while True:
        marks = [tuple(rng.choice(GOOD if remark.good else POOR) for remark in one.remarks) for one in assessments]
        drawn = [(row[0], row[1]) for row in marks]
        first, second = totals(drawn)
        if first != second:
            return drawn


def totals(marks: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Each candidate's sum of marks."""
    return sum(first for first, _ in marks), sum(second for _, second in marks)


def _named(shape: Shape | None) -> str:
    return "nothing nothing" if shape is None else str(shape)


def _moving(motion: Motion | None) -> str:
    return "nothing nothing nothing" if motion is None else f"{motion.shape} {motion.direction}"


def _both(remarks: Iterable[Remark]) -> tuple[Remark, Remark]:
    first, second = remarks
    return first, second
