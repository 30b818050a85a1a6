"""What candidates and answers are called, and whether a verdict's sums and its answer agree with what it scored."""

import pytest

from models.pairs.preference import Preferred, Task
from models.verdict.grammar import Dimension, Total, Verdict, answer_text, candidate_names, is_better, noun
from models.verdict.parsing import parse_verdict
from tests.models.verdict.examples import GOOD, TASK


@pytest.mark.parametrize(
    ("task", "called", "tie"),
    [
        (Task.IMAGE_GENERATION, "Image", "Both images are equally good"),
        (Task.VIDEO_GENERATION, "Video", "Both videos are equally good"),
        (Task.IMAGE_UNDERSTANDING, "Answer", "Both answers are equally good"),
        (Task.VIDEO_UNDERSTANDING, "Answer", "Both answers are equally good"),
    ],
)
def test_candidates_and_answers_are_called_by_what_is_judged(task: Task, called: str, tie: str) -> None:
    assert noun(task) == called
    assert candidate_names(task) == (f"{called} 1", f"{called} 2")
    assert answer_text(task, 1) == is_better(f"{called} 1") == f"{called} 1 is better"
    assert answer_text(task, 2) == is_better(f"{called} 2") == f"{called} 2 is better"
    assert answer_text(task, "tie") == tie


def test_a_verdict_made_of_dimensions_has_their_sums() -> None:
    dimensions = (Dimension("A", (8, 3), ("a", "b")), Dimension("B", (7, 9), ("c", "d")))
    made = Verdict.from_dimensions(Task.VIDEO_GENERATION, dimensions, 2)
    assert made == Verdict(Task.VIDEO_GENERATION, 2, dimensions, (Total((8, 7), 15), Total((3, 9), 12)))
    assert made.sums_agree and not made.answer_agrees


def test_a_verdict_without_totals_agrees_with_nothing() -> None:
    bare = Verdict(TASK, 1)
    assert bare.sums_agree is bare.answer_agrees is False


def test_fractions_add_up_but_for_the_rounding_of_floats() -> None:
    made = Verdict.from_dimensions(TASK, tuple(Dimension("A", (1.1, 2.2), ("a", "b")) for _ in range(3)), 2)
    rounded = Verdict(TASK, 2, made.dimensions, (Total((1.1, 1.1, 1.1), 3.3), Total((2.2, 2.2, 2.2), 6.6)))
    assert made != rounded and rounded.sums_agree


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
