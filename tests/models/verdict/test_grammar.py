"""What a verdict says of itself: whether its sums agree with its scores, and its answer with its totals."""

import pytest

from models.pairs.preference import Preferred
from models.verdict.grammar import Total, Verdict
from models.verdict.parsing import parse_verdict
from tests.models.verdict.examples import GOOD, TASK


@pytest.mark.parametrize(
    ("text", "sums", "answer"),
    [
        (GOOD, True, True),
        (GOOD.replace("=15", "=16"), False, True),  # does not add up
        (GOOD.replace("8+7=15", "7+8=15"), False, True),  # adds up, in another order than was scored
        (GOOD.replace("8+7=15", "15=15"), False, True),  # adds up, but hides the scores
        (GOOD.replace("6+7=13", "6+7=99"), False, False),  # the written total contradicts the answer
        (GOOD.replace("Image 1 is better", "Image 2 is better"), True, False),
        (GOOD.replace("(6/10)", "(8/10)").replace("6+7=13", "8+7=15"), True, False),  # equal totals
    ],
)
def test_wrong_sums_and_contradicting_answers_read_and_the_properties_tell(text: str, sums: bool, answer: bool) -> None:
    verdict = parse_verdict(text, TASK)
    assert isinstance(verdict, Verdict)
    assert (verdict.sums_agree, verdict.answer_agrees) == (sums, answer)


@pytest.mark.parametrize(
    ("totals", "preferred", "agrees"),
    [
        ((9, 3), 1, True), ((9, 3), 2, False), ((9, 3), "tie", False),
        ((3, 9), 2, True), ((3, 9), 1, False), ((3, 9), "tie", False),
        ((5, 5), "tie", True), ((5, 5), 1, False), ((5, 5), 2, False),
    ],
)  # fmt: skip
def test_an_answer_agrees_with_totals_that_it_follows_from(
    totals: tuple[int, int], preferred: Preferred, agrees: bool
) -> None:
    first, second = (Total((value,), value) for value in totals)
    assert Verdict(TASK, preferred, totals=(first, second)).answer_agrees is agrees
