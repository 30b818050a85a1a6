"""The word at which a comparison with a flaw differs from that of faultless candidates."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from models.backbone import load_processor
from models.pairs.preference import Task
from models.shapes import base_model
from models.shapes.lessons.styles import random_style
from models.shapes.pairs import KINDS, make_pair, number_at
from models.shapes.pretraining.deviations import _deviation
from models.shapes.world import COLOURS, SHAPES

BASE = Path(base_model.__file__).parent / "base"
WORDS = {
    "colour": COLOURS,
    "form": SHAPES,
    "noise": ("noisy", "clean"),
    "blur": ("blurred", "clean"),
    "cut": ("cut", "whole"),
}


@pytest.fixture(scope="module")
def processor() -> Any:
    return load_processor(BASE)


@pytest.mark.parametrize("kind", list(WORDS))
def test_what_is_shown_and_what_is_expected_are_words_of_the_flaw(kind: str, processor: Any) -> None:
    task, style = Task.IMAGE_GENERATION, random_style(Random(0), "Compare.")
    for turn in range(4):
        place = KINDS[task].index(kind) + turn * len(KINDS[task])
        one = _deviation(make_pair(task, number_at(task, place), seed=3, held_out=False), style, processor)
        shown, expected = (processor.tokenizer.decode([token]).strip() for token in (one.shown, one.expected))
        assert shown != expected
        assert {shown, expected} <= set(WORDS[kind])
        before = processor.tokenizer(one.lesson.answer)["input_ids"][: one.at]
        assert one.lesson.answer.startswith(processor.tokenizer.decode(before))
