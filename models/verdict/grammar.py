"""THE grammar: what a verdict is, and the words that it is written with.

Its tags, its range of scores, the names of candidates and the answer sentences are here; `instructions.py` asks for a
verdict, `rendering.py` writes it, `parsing.py` reads it, and `quoting.py` keeps untrusted text from passing for it.
Nothing else in the tree knows a tag, a pattern for scores, or the answer sentences.

Thinking mode, in the layout we write (arXiv 2505.03318, section 3.1 and the released checkpoints)::

    <think>
    1. Semantic consistency: Image 1 (8/10) - shows all of it; Image 2 (6/10) - the hat is missing
    2. Aesthetics: Image 1 (7/10) - calm colours; Image 2 (7/10) - good light
    Total score:
    Image 1: 8+7=15
    Image 2: 6+7=13
    </think>
    <answer>Image 1 is better</answer>

What the released checkpoints were taught to write parses too: the candidates of a line the other way round, further
dimensions without a number, and the later ones' three-line block (the name, then an indented line a candidate, the
first with a semicolon at its end). Direct mode is the answer sentence alone, bare or in its block, perhaps with a full
stop, and may be a tie. The layouts are those of the prompts that `models/verdict/wordings/unified_reward_think.py`
names.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from models.pairs.preference import Preferred, Task

Mode = Literal["think", "direct"]

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
QUOTE_OPEN, QUOTE_CLOSE = "<quoted>", "</quoted>"
TOTAL_HEADING = "Total score:"

MIN_SCORE, MAX_SCORE = 1, 10
MAX_EXTRA_DIMENSIONS = 2

CORE_DIMENSIONS: dict[Task, tuple[str, ...]] = {
    Task.IMAGE_GENERATION: ("Semantic consistency", "Aesthetics", "Authenticity"),
    Task.IMAGE_UNDERSTANDING: ("Semantic accuracy", "Correctness", "Clarity"),
    Task.VIDEO_GENERATION: ("Semantic consistency", "Temporal coherence", "Authenticity"),
    Task.VIDEO_UNDERSTANDING: ("Semantic accuracy", "Correctness", "Clarity"),
}


def noun(task: Task) -> str:
    """What the candidates of `task` are called: `Image`, `Video` or `Answer`."""
    return task.media_kind.capitalize() if task.judges_media else "Answer"


def candidate_names(task: Task) -> tuple[str, str]:
    """`("Image 1", "Image 2")` and the like, as prompts and verdicts write them."""
    return f"{noun(task)} 1", f"{noun(task)} 2"


def answer_text(task: Task, preferred: Preferred) -> str:
    """The answer sentence: `Image 1 is better`, or `Both images are equally good` for a tie."""
    if preferred == "tie":
        return f"Both {noun(task).lower()}s are equally good"
    return is_better(f"{noun(task)} {preferred}")


def is_better(name: str) -> str:
    """The sentence that prefers the candidate of this name."""
    return f"{name} is better"


@dataclass(frozen=True)
class Dimension:
    """One scored line of reasoning: scores are from 1 to 10, candidate 1 first, whole numbers in the grammar."""

    name: str
    scores: tuple[float, float]
    rationales: tuple[str, str]


@dataclass(frozen=True)
class Total:
    """A written sum: `8+7=15` has terms (8, 7) and value 15, right or wrong."""

    terms: tuple[float, ...]
    value: float


@dataclass(frozen=True)
class Verdict:
    """A judgment that follows the grammar. In direct mode it has no dimensions and no totals."""

    task: Task
    preferred: Preferred
    dimensions: tuple[Dimension, ...] = ()
    totals: tuple[Total, Total] | None = None

    @property
    def sums_agree(self) -> bool:
        """Whether both written sums repeat the scores and add them up rightly."""
        if self.totals is None:
            return False
        for index, total in enumerate(self.totals):
            scores = tuple(dimension.scores[index] for dimension in self.dimensions)
            if total.terms != scores or not math.isclose(total.value, sum(scores)):
                return False
        return True

    @property
    def answer_agrees(self) -> bool:
        """Whether the answer follows from the totals as written; equal totals support no answer but a tie."""
        if self.totals is None:
            return False
        first, second = (total.value for total in self.totals)
        followed: Preferred = "tie" if first == second else (1 if first > second else 2)
        return self.preferred == followed

    @classmethod
    def from_dimensions(cls, task: Task, dimensions: tuple[Dimension, ...], preferred: Preferred) -> "Verdict":
        """A verdict whose sums are right by construction."""
        columns = tuple(zip(*(dimension.scores for dimension in dimensions), strict=True))
        first, second = (Total(terms=tuple(column), value=sum(column)) for column in columns)
        return cls(task=task, preferred=preferred, dimensions=dimensions, totals=(first, second))


class Fault(StrEnum):
    """Why a text is not a verdict."""

    MISSING_BLOCK = "missing_block"
    REPEATED_BLOCK = "repeated_block"
    TEXT_OUTSIDE = "text_outside"
    NO_DIMENSION = "no_dimension"
    BAD_DIMENSION = "bad_dimension"
    TOO_MANY_DIMENSIONS = "too_many_dimensions"
    SCORE_OUT_OF_RANGE = "score_out_of_range"
    BAD_TOTAL = "bad_total"
    BAD_ANSWER = "bad_answer"


@dataclass(frozen=True)
class Malformed:
    """A text that breaks the grammar: the reason, and the character offset where it shows."""

    reason: Fault
    position: int
