"""Which reasoning is worth learning from: valid, self-consistent, and right.

Distillation and rejection sampling ask the same question (arXiv 2505.03318, sections 3.2 and 3.3).
"""

from dataclasses import dataclass
from enum import StrEnum

from models.pairs.preference import PreferencePair
from models.verdict.grammar import Malformed, Verdict
from models.verdict.lenient import parse_lenient
from models.verdict.parsing import parse_verdict
from models.verdict.rendering import render_verdict


class Rejection(StrEnum):
    """Why a well-formed answer is not kept; a malformed one is `malformed:<fault>`."""

    WRONG_SUMS = "wrong_sums"
    ANSWER_CONTRADICTS_TOTALS = "answer_contradicts_totals"
    ANSWER_NOT_LABEL = "answer_not_label"
    FRACTIONAL_SCORES = "fractional_scores"  # of a lenient reading: rounded, they would not add up or say another order


@dataclass(frozen=True)
class Selected:
    """What to train on of a teacher's answer: the text in the grammar, or the text as given and why it is not kept."""

    text: str
    rejection: str | None
    normalised: bool = False


def select(text: str, pair: PreferencePair, *, lenient: bool) -> Selected:
    """A teacher's answer as it may be learnt from. Targets are always in the grammar.

    With `lenient`, an answer that only a lenient reading understands is written again by `render_verdict`.
    """
    reason = rejection(text, pair)
    if not lenient or not isinstance(parse_verdict(text, pair.task), Malformed):
        return Selected(text, reason)
    verdict = parse_lenient(text, pair.task)
    if not isinstance(verdict, Verdict):
        return Selected(text, reason)
    if any(not float(score).is_integer() for dimension in verdict.dimensions for score in dimension.scores):
        return Selected(text, Rejection.FRACTIONAL_SCORES.value)
    try:
        written = render_verdict(verdict)
    except ValueError:  # a candidate without a reason, for instance
        return Selected(text, reason)
    reason = rejection(written, pair)
    return Selected(written, None, normalised=True) if reason is None else Selected(text, reason)


def rejection(text: str, pair: PreferencePair) -> str | None:
    """The first reason not to keep a thinking answer, or None for one to keep.

    A pair labelled a tie keeps none: the thinking grammar has no tie.

    >>> from models.pairs.preference import Candidate, Media, Task
    >>> image = Candidate(media=Media(kind="image", uri="a.png", sha256="0" * 64))
    >>> pair = PreferencePair(id="1", task=Task.IMAGE_GENERATION, prompt="a hat", candidates=(image, image),
    ...                       preferred=1, source="doctest")
    >>> rejection("Image 1 is better", pair)
    'malformed:missing_block'
    """
    verdict = parse_verdict(text, pair.task)
    if isinstance(verdict, Malformed):
        return f"malformed:{verdict.reason.value}"
    if not verdict.sums_agree:
        return Rejection.WRONG_SUMS.value
    if not verdict.answer_agrees:
        return Rejection.ANSWER_CONTRADICTS_TOTALS.value
    if verdict.preferred != pair.preferred:
        return Rejection.ANSWER_NOT_LABEL.value
    return None
