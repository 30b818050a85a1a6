"""Whether a base writes what is shown where that differs from what is asked for, kind by kind.

Pairs have one flaw each, so that a comparison may be guessed from the caption but for a word. Here the model is given
the right comparison up to that word, and is asked which it prefers: the right one, or the one that a faultless
candidate would have had. Scenes are of the training split::

    python -m models.shapes.pretraining.deviations models/shapes/base
"""

from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from models.pairs.preference import Task
from models.shapes.assess import assess_generation, draw_marks
from models.shapes.lessons.lesson import Lesson, request_for, with_names
from models.shapes.lessons.styles import Style, random_style
from models.shapes.pairs import KINDS, MadePair, make_pair, number_at
from models.shapes.pretraining.batches import collate
from models.shapes.pretraining.measuring import print_measured
from models.verdict.grammar import candidate_names
from models.verdict.instructions import mode_instructions

BATCH = 16  # comparisons at once


@dataclass(frozen=True)
class Deviation:
    """A right comparison, where it first differs from that of two faultless candidates, and what stands there."""

    lesson: Lesson
    at: int  # tokens of the answer before it
    shown: int
    expected: int


def deviations(model: Any, processor: Any, *, seed: int, count: int = 48) -> dict[str, float]:
    """Share of `count` pairs of each kind of generated media in which what is shown is preferred, from 0 to 1."""
    style = random_style(Random(seed), mode_instructions("think"))
    found: dict[str, float] = {}
    for task in (task for task in Task if task.judges_media):
        by_kind: dict[str, list[Deviation]] = {kind: [] for kind in KINDS[task]}
        for place in range(count * len(by_kind)):
            made = make_pair(task, number_at(task, place), seed=seed, held_out=False)
            by_kind[str(made.pair.group)].append(_deviation(made, style, processor))
        found |= {f"{task}/{kind}": _preferred(model, processor, some) for kind, some in by_kind.items()}
    return found


def _deviation(made: MadePair, style: Style, processor: Any) -> Deviation:
    faultless = made.seen[0 if made.pair.preferred == 1 else 1]
    names, marks = candidate_names(made.pair.task), draw_marks(made.assessments, Random(made.pair.id))
    expected = assess_generation(made.pair.task, made.scene, (faultless, faultless))
    answers = [style.write(one, marks, names, "") for one in (made.assessments, expected)]
    tokens = [processor.tokenizer(answer)["input_ids"] for answer in answers]
    at = next(at for at, (one, other) in enumerate(zip(*tokens, strict=False)) if one != other)
    messages = with_names(request_for(made, style.request), made.pair.task, names)
    return Deviation(Lesson(messages, made.frames, answers[0]), at, tokens[0][at], tokens[1][at])


@torch.inference_mode()
def _preferred(model: Any, processor: Any, some: list[Deviation]) -> float:
    right = 0
    for start in range(0, len(some), BATCH):
        part = some[start : start + BATCH]
        batch = collate(processor, [one.lesson for one in part])
        labels = batch.pop("labels")
        logits = model(**batch).logits
        for one, row, labelled in zip(part, logits, labels != -100, strict=True):
            scores = row[int(labelled.nonzero()[0]) + one.at - 1]
            right += bool(scores[one.shown] > scores[one.expected])
    return round(right / len(some), 4)


if __name__ == "__main__":
    print_measured(deviations, __doc__)
