"""The texts that the base model's tokenizer is learned from."""

from collections.abc import Iterator
from random import Random

from models.pairs.preference import Task
from models.shapes.base_model import instruction_tokens
from models.shapes.lessons.lesson import REQUESTS
from models.shapes.lessons.mixes import draw_lesson
from models.verdict.grammar import QUOTE_CLOSE, QUOTE_OPEN, Dimension, Verdict
from models.verdict.rendering import render_verdict


def tokenizer_texts(seed: int, count: int = 4000) -> Iterator[str]:
    """Texts that the tokenizer is learned from: lessons, and the verdict grammar's own words and figures.

    Without the fixed texts, which are tokens of their own: words found in them alone would take others' places.
    """
    rng = Random(seed)
    for _ in range(count):
        lesson = draw_lesson(rng, seed)
        yield "user\n"
        yield "assistant\n"
        yield lesson.answer
        for part in lesson.messages[0]["content"]:
            if part["type"] == "text":
                yield without_fixed_texts(part["text"])
    for task in Task:
        scores = [(rng.randint(1, 10), rng.randint(1, 10)) for _ in range(3)]
        dimensions = tuple(Dimension("Aesthetics", score, ("clean", "noisy")) for score in scores)
        yield from [render_verdict(Verdict.from_dimensions(task, dimensions, 1))] * 100


def without_fixed_texts(text: str) -> str:
    """The text less instructions, requests and delimiters."""
    for fixed in (*instruction_tokens(), *REQUESTS, QUOTE_OPEN, QUOTE_CLOSE):
        text = text.replace(fixed, "")
    return text
