"""Comparing what was wanted with what is seen, in the world's own plain words.

The teacher calls this with what it perceives in the pixels; the base model's pretraining with what was
drawn. One wording for both: *wanted* and *seen* stand side by side, shape by shape.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from models.preference import Task
from models.shapes.world import PLACES, Scene, Shape
from models.verdict import CORE_DIMENSIONS


@dataclass(frozen=True)
class Seen:
    """One candidate or context medium as perceived: its content, and how it is rendered."""

    scene: Scene
    quality: str = "clean"  # clean | noisy | blurred
    cut: bool = False
    flow: str = "smooth"  # smooth | flickers | jumps; of videos only


@dataclass(frozen=True)
class Remark:
    """What one dimension says of one candidate: whether it is good, and why."""

    good: bool
    words: str


@dataclass(frozen=True)
class Assessment:
    """The remarks of one dimension on both candidates."""

    dimension: str
    remarks: tuple[Remark, Remark]


def _named(shape: Shape | None) -> str:
    return "nothing" if shape is None else str(shape)


def compare_content(wanted: Scene, seen: Scene) -> Remark:
    """`wants red circle, shows blue circle` for every shape wanted, then for every shape too many."""
    checks: list[tuple[str, str]] = []
    if wanted.motion is not None:
        shown = seen.motion
        checks.append((str(wanted.motion.shape), _named(shown.shape if shown else None)))
        checks.append((wanted.motion.direction, shown.direction if shown else "nothing"))
    for place in range(len(PLACES)):
        want, show = wanted.places[place], seen.places[place]
        if want is not None or show is not None:
            checks.append((_named(want), _named(show)))
    words = ", ".join(f"wants {want}, shows {show}" for want, show in checks)
    return Remark(good=all(want == show for want, show in checks), words=words)


def assess_generation(task: Task, wanted: Scene, seen: tuple[Seen, Seen]) -> tuple[Assessment, ...]:
    """The three dimensions of a generation pair."""
    content, second, authenticity = CORE_DIMENSIONS[task]
    quality = _both(Remark(one.quality == "clean", one.quality) for one in seen)
    whole = _both(Remark(not one.cut, "cut off" if one.cut else "whole") for one in seen)
    flow = _both(Remark(one.flow == "smooth", one.flow) for one in seen)
    is_image = task is Task.IMAGE_GENERATION
    return (
        Assessment(content, _both(compare_content(wanted, one.scene) for one in seen)),
        Assessment(second, quality if is_image else flow),
        Assessment(authenticity, whole if is_image else quality),
    )


def assess_answers(task: Task, truth: str, answers: tuple[str, str]) -> tuple[Assessment, ...]:
    """The three dimensions of two answers to a question whose right answer is `truth`."""
    accuracy, correctness, clarity = CORE_DIMENSIONS[task]
    good = [answer == truth for answer in answers]
    return (
        Assessment(
            accuracy, _both(Remark(ok, f"says {a}, shows {truth}") for ok, a in zip(good, answers, strict=True))
        ),
        Assessment(correctness, _both(Remark(ok, "right" if ok else "wrong") for ok in good)),
        Assessment(clarity, _both(Remark(True, "plain") for _ in answers)),
    )


def _both(remarks: Iterable[Remark]) -> tuple[Remark, Remark]:
    first, second = remarks
    return first, second
