"""Where a text breaks the grammar, and the answer that is read alone."""

import pytest

from models.pairs.preference import Preferred, Task
from models.verdict.grammar import Fault, Malformed, Mode
from models.verdict.parsing import parse_answer, parse_verdict
from tests.models.verdict.examples import ANSWER, BLOCKS, GOOD, LINES, TASK, TOTALS, reasoned

SIX = "".join(f"{at}. D: Image 1 (1/10) - a; Image 2 (1/10) - b\n" for at in range(1, 7))


@pytest.mark.parametrize(
    ("text", "reason", "rest"),
    [
        ("ab<think>", Fault.MISSING_BLOCK, "<think>"),  # which is never closed
        ("</think>ab<think>", Fault.MISSING_BLOCK, "<think>"),
        (f"{GOOD} <think>", Fault.REPEATED_BLOCK, "<think>"),
        (f"{GOOD} </think>", Fault.REPEATED_BLOCK, "</think>"),
        (f"{GOOD} <answer>", Fault.REPEATED_BLOCK, "<answer>"),
        (f"{GOOD} </answer>", Fault.REPEATED_BLOCK, "</answer>"),
        (f"{GOOD} <think> a <think>", Fault.REPEATED_BLOCK, "<think> a <think>"),  # the first that is too many
        (f"{ANSWER}<think>\n{LINES}{TOTALS}</think>", Fault.MISSING_BLOCK, "Image 1 is better</answer><think>"),
        (f" a{GOOD}", Fault.TEXT_OUTSIDE, "a<think>"),
        (GOOD.replace("</think>\n", "</think>\n b "), Fault.TEXT_OUTSIDE, "b <answer>"),
        (f"{GOOD}\n  c d", Fault.TEXT_OUTSIDE, "c d"),
        (reasoned(""), Fault.NO_DIMENSION, "\n</think>"),
        (reasoned(f" \n {TOTALS}"), Fault.NO_DIMENSION, "Total score:\n"),
        (reasoned(f"\n 2. A: Image 1 (8/10) - a; Image 2 (6/10) - b\n{TOTALS}"), Fault.BAD_DIMENSION, "2. A: Image 1"),
        (
            reasoned(f"{LINES}3. C: Image 1 (1/10) - 3; Image 2 (1/10) - 3\n  5. 5 (5/10)\n{TOTALS}"),
            Fault.BAD_DIMENSION,
            "5. 5 (5/10)\n",  # which begins with a character that it holds again
        ),
        (reasoned(LINES), Fault.BAD_TOTAL, "2. Aesthetics: "),  # after which the totals are missing
        (reasoned(LINES[: LINES.index("2.")]), Fault.BAD_TOTAL, "1. Semantic consistency: "),
        (reasoned(SIX + TOTALS), Fault.TOO_MANY_DIMENSIONS, "\n1. D: "),
        (reasoned(f"{LINES}  Total score:\nImage 1: 8+7=15\n"), Fault.BAD_TOTAL, "Total score:\nImage 1: 8+7=15\n</"),
        (reasoned(f"{LINES}Total score:\nImage 1: 8+7=15\n  Image 2: 6+7\n"), Fault.BAD_TOTAL, "Image 2: 6+7\n"),
        (reasoned(f"{LINES}Total score:\n Image 2: 1=1\nImage 2: 6+7=13\n"), Fault.BAD_TOTAL, "Image 2: 1=1\n"),
        (GOOD.replace("Image 1 is", "Image 3 is"), Fault.BAD_ANSWER, "Image 3 is better</answer>"),
        (reasoned(LINES.replace("Image 2 (6/10)", "Image 2 (six)") + TOTALS), Fault.BAD_DIMENSION, " Image 1 (8/10) -"),
        (reasoned(LINES.replace("(6/10)", "(11/10)") + TOTALS), Fault.SCORE_OUT_OF_RANGE, " Image 2 (11/10) - the"),
        (reasoned(LINES.replace("1 (7/10)", "1 (0/10)") + TOTALS), Fault.SCORE_OUT_OF_RANGE, " Image 1 (0/10) - calm"),
        (reasoned(BLOCKS.replace("1 (7/10)", "1 (0/10)") + TOTALS), Fault.SCORE_OUT_OF_RANGE, "Image 1 (0/10) - calm"),
        (reasoned(BLOCKS.replace("2 (7/10)", "2 (0/10)") + TOTALS), Fault.SCORE_OUT_OF_RANGE, "Image 2 (0/10) - good"),
        (
            reasoned(BLOCKS.replace("   Image 2 (7/10) - good light\n", "") + TOTALS),
            Fault.BAD_DIMENSION,
            "2. Aesthetics:  \n",
        ),
    ],
)
def test_the_position_is_where_the_fault_begins(text: str, reason: Fault, rest: str) -> None:
    verdict = parse_verdict(text, TASK)
    assert isinstance(verdict, Malformed)
    assert (verdict.reason, text[verdict.position :][: len(rest)]) == (reason, rest)


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("", "think", Malformed(Fault.MISSING_BLOCK, 0)),
        ("x", "direct", Malformed(Fault.BAD_ANSWER, 0)),
        (f"a{ANSWER}", "direct", Malformed(Fault.TEXT_OUTSIDE, 0)),
        (f"{ANSWER} b", "direct", Malformed(Fault.TEXT_OUTSIDE, len(ANSWER) + 1)),
        (" <answer>Image 3 is better</answer>", "direct", Malformed(Fault.BAD_ANSWER, 9)),
    ],
)
def test_the_position_in_a_short_answer(text: str, mode: Mode, expected: Malformed) -> None:
    assert parse_verdict(text, TASK, mode=mode) == expected


def test_positions_point_at_the_fault() -> None:
    outside = GOOD + "\n  bye"
    verdict = parse_verdict(outside, Task.IMAGE_GENERATION)
    assert isinstance(verdict, Malformed) and outside[verdict.position :] == "bye"
    third = GOOD.replace("2. Aesthetics", "3. Aesthetics")
    verdict = parse_verdict(third, Task.IMAGE_GENERATION)
    assert isinstance(verdict, Malformed) and third[verdict.position :].startswith("3. Aesthetics")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (ANSWER, 1),
        ("Hm.</think> <answer>\nImage 2 is better.\n</answer> and so on", 2),
        ("", Malformed(Fault.MISSING_BLOCK, 0)),
        ("ab<answer>", Malformed(Fault.MISSING_BLOCK, 2)),
        ("ab <answer>x</answer>", Malformed(Fault.BAD_ANSWER, 11)),
        (f"{ANSWER} </think>", Malformed(Fault.MISSING_BLOCK, 8)),  # within the reasoning
        (ANSWER + ANSWER, Malformed(Fault.REPEATED_BLOCK, len(ANSWER))),
        ("a<answer>Both images are equally good</answer>", Malformed(Fault.BAD_ANSWER, 9)),
        ("<answer>Image 1 is better..</answer>", Malformed(Fault.BAD_ANSWER, 8)),
    ],
)
def test_the_answer_alone_is_read_whatever_stands_before_it(text: str, read: Preferred | Malformed) -> None:
    assert parse_answer(text, TASK) == read
