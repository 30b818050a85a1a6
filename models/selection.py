"""Which reasoning is worth learning from: valid, self-consistent, and right.

Distillation and rejection sampling ask the same question (arXiv 2505.03318, sections 3.2 and 3.3).
"""

from enum import StrEnum

from models.preference import PreferencePair
from models.verdict import Malformed, parse_verdict


class Rejection(StrEnum):
    """Why a well-formed answer is not kept; a malformed one is `malformed:<fault>`."""

    WRONG_SUMS = "wrong_sums"
    ANSWER_CONTRADICTS_TOTALS = "answer_contradicts_totals"
    ANSWER_NOT_LABEL = "answer_not_label"


def rejection(text: str, pair: PreferencePair) -> str | None:
    """The first reason not to keep a thinking answer, or None for one to keep.

    A pair labelled a tie keeps none: the thinking grammar has no tie.

    >>> from models.preference import Candidate, Media, Task
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
