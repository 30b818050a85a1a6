"""Which answers are worth learning from."""

import pytest

from models.pairs.preference import Candidate, Media, PreferencePair, Task
from models.training.selection import Selected, rejection, select

IMAGE = Candidate(media=Media(kind="image", uri="a.png", sha256="0" * 64))
PAIR = PreferencePair(
    id="1", task=Task.IMAGE_GENERATION, prompt="a hat", candidates=(IMAGE, IMAGE), preferred=1, source="test"
)
RIGHT = (
    "<think>\n1. Aesthetics: Image 1 (8/10) - calm; Image 2 (3/10) - noisy\nTotal score:\nImage 1: 8=8\nImage 2: 3=3\n"
    "</think>\n<answer>Image 1 is better</answer>"
)


def test_right_reasoning_is_kept() -> None:
    assert rejection(RIGHT, PAIR) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "malformed:missing_block"),  # a refusal has no text
        ("Image 1 is better", "malformed:missing_block"),  # the direct mode's answer
        (f"Sure!\n{RIGHT}", "malformed:text_outside"),
        (RIGHT.replace("(8/10)", "(12/10)"), "malformed:score_out_of_range"),
        (RIGHT.replace("Image 1 is better", "Image 1 or Image 2 is better"), "malformed:bad_answer"),
        (RIGHT.replace("8=8", "8=9"), "wrong_sums"),
        (RIGHT.replace("8=8", "7=7"), "wrong_sums"),  # adds up, but not what was scored
        (RIGHT.replace("Image 1 is better", "Image 2 is better"), "answer_contradicts_totals"),
        (RIGHT.replace("3", "8"), "answer_contradicts_totals"),  # equal totals support no answer
    ],
)
def test_anything_else_is_rejected_with_its_reason(text: str, reason: str) -> None:
    assert rejection(text, PAIR) == reason


def test_sound_reasoning_for_the_wrong_candidate_is_rejected() -> None:
    assert rejection(RIGHT, PAIR.swapped()) == "answer_not_label"


def test_a_tie_keeps_no_reasoning() -> None:
    assert rejection(RIGHT, PAIR.model_copy(update={"preferred": "tie"})) == "answer_not_label"


IN_BOLD = RIGHT.replace("Image 1 (8/10)", "**Image 1** (8/10)")


def test_what_the_grammar_reads_is_taken_as_it_was_written() -> None:
    spaced = RIGHT.replace("8=8", "8 = 8")
    for lenient in (False, True):
        assert select(spaced, PAIR, lenient=lenient) == Selected(spaced, None)
        assert select(spaced, PAIR.swapped(), lenient=lenient) == Selected(spaced, "answer_not_label")


def test_another_layout_is_written_again_where_a_lenient_reading_is_asked_for() -> None:
    assert select(IN_BOLD, PAIR, lenient=True) == Selected(RIGHT, None, normalised=True)
    assert select(IN_BOLD, PAIR, lenient=False) == Selected(IN_BOLD, "malformed:bad_dimension")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Image 1, I would say", "malformed:missing_block"),  # no reading finds a verdict
        (IN_BOLD.replace("(8/10)", "(7.5/10)").replace("8=8", "7.5=7.5"), "fractional_scores"),
        (IN_BOLD.replace(" calm", ""), "malformed:bad_dimension"),  # no reason to write
        (IN_BOLD.replace("8=8", "8=9"), "wrong_sums"),
        (IN_BOLD.replace("Image 1 is better", "Image 2 is better"), "answer_contradicts_totals"),
    ],
)
def test_a_lenient_reading_lets_nothing_else_through_and_keeps_the_text(text: str, reason: str) -> None:
    assert select(text, PAIR, lenient=True) == Selected(text, reason)


def test_another_layout_for_the_wrong_candidate_is_rejected_as_it_was_written() -> None:
    assert select(IN_BOLD, PAIR.swapped(), lenient=True) == Selected(IN_BOLD, "answer_not_label")
