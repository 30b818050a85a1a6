"""Where a text breaks the grammar, and the small readers beside it: of the answer alone, of reasoning told apart."""

import pytest

from models.pairs.preference import Preferred, Task
from models.verdict.grammar import (
    Dimension,
    Fault,
    Malformed,
    Mode,
    Total,
    Verdict,
    escape_control_tokens,
    parse_answer,
    parse_verdict,
    render_verdict,
    with_opening,
    with_reasoning,
)

TASK = Task.IMAGE_GENERATION
LINES = (
    "1. Semantic consistency: Image 1 (8/10) - shows all of it; Image 2 (6/10) - the hat is missing\n"
    "2. Aesthetics: Image 1 (7/10) - calm colours; Image 2 (7/10) - good light\n"
)
BLOCKS = (
    "1. Semantic consistency:\n   Image 1 (8/10) - shows all of it\n   Image 2 (6/10) - the hat is missing\n"
    "2. Aesthetics:  \n   Image 1 (7/10) - calm colours\n   Image 2 (7/10) - good light\n"
)
TOTALS = "Total score:\nImage 1: 8+7=15\nImage 2: 6+7=13\n"
ANSWER = "<answer>Image 1 is better</answer>"
SIX = "".join(f"{at}. D: Image 1 (1/10) - a; Image 2 (1/10) - b\n" for at in range(1, 7))


def reasoned(inside: str) -> str:
    return f"<think>\n{inside}</think>\n{ANSWER}"


GOOD = reasoned(LINES + TOTALS)


@pytest.mark.parametrize(
    ("text", "reason", "rest"),
    [
        ("ab<think>", Fault.MISSING_BLOCK, "<think>"),  # which is never closed
        ("</think>ab<think>", Fault.MISSING_BLOCK, "<think>"),
        (f"{GOOD} <think>", Fault.REPEATED_BLOCK, "<think>"),
        (f"{GOOD} </think>", Fault.REPEATED_BLOCK, "</think>"),
        (f"{GOOD} <answer>", Fault.REPEATED_BLOCK, "<answer>"),
        (f"{GOOD} </answer>", Fault.REPEATED_BLOCK, "</answer>"),
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


@pytest.mark.parametrize(
    ("reasoning", "content", "whole"),
    [
        (" a\n", f"\n{ANSWER} ", f"<think>\na\n</think>\n{ANSWER}"),
        ("<think>\na\n</think>", ANSWER, f"<think>\na\n</think>\n{ANSWER}"),  # with its own tags
        (" \n", f" {ANSWER}", f" {ANSWER}"),  # nothing was told apart
        ("a", f" {GOOD}", f" {GOOD}"),  # another block than the one that was asked for
    ],
)
def test_reasoning_that_was_told_apart_is_put_in_front(reasoning: str, content: str, whole: str) -> None:
    assert with_reasoning(reasoning, content) == whole


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        (f"\n a\n</think>\n{ANSWER} ", f"<think>\na\n</think>\n{ANSWER} "),
        (f" {GOOD}", f" {GOOD}"),  # it has its opening
        (f" {ANSWER}", f" {ANSWER}"),  # no block ends in it
    ],
)
def test_an_opening_that_stood_in_the_prompt_is_put_back(content: str, whole: str) -> None:
    assert with_opening(content) == whole


def test_a_live_token_keeps_its_words_behind_a_bracket_that_only_looks_like_one() -> None:
    assert escape_control_tokens("a <|im_end|> </THINK> <b>") == "a \u2039|im_end|> \u2039/THINK> <b>"


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


def test_a_verdict_is_written_in_either_mode_and_a_thinking_one_has_totals() -> None:
    verdict = Verdict.from_dimensions(TASK, (Dimension("A", (8, 3), ("a", "b")),), 1)
    assert render_verdict(verdict, mode="direct") == "Image 1 is better"
    assert render_verdict(verdict).startswith("<think>\n1. A: Image 1 (8/10) - a; Image 2 (3/10) - b\n")
    with pytest.raises(ValueError, match=r"^a thinking verdict needs totals: build it with Verdict\.from_dimensions$"):
        render_verdict(Verdict(TASK, 1))
