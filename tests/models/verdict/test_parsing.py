"""What reads as a verdict, and what does not and why."""

import pytest

from models.pairs.preference import Preferred, Task
from models.verdict.grammar import (
    CORE_DIMENSIONS,
    MAX_EXTRA_DIMENSIONS,
    Dimension,
    Fault,
    Malformed,
    Mode,
    Verdict,
    answer_text,
    candidate_names,
)
from models.verdict.parsing import parse_verdict
from models.verdict.rendering import render_verdict
from tests.models.verdict.examples import ANSWER, BLOCKS, EXPECTED, GOOD, LINES, TOTALS


def parsed(text: str, task: Task = Task.IMAGE_GENERATION, mode: Mode = "think") -> Verdict:
    verdict = parse_verdict(text, task, mode=mode)
    assert isinstance(verdict, Verdict), verdict
    return verdict


def fault(text: str, task: Task = Task.IMAGE_GENERATION, mode: Mode = "think") -> Fault:
    verdict = parse_verdict(text, task, mode=mode)
    assert isinstance(verdict, Malformed), verdict
    assert 0 <= verdict.position <= len(text)
    return verdict.reason


@pytest.mark.parametrize(
    "text",
    [
        GOOD,  # the layout we write
        f"<think>\n{BLOCKS}{TOTALS}</think>\n{ANSWER}",  # the later checkpoints' three lines a dimension
        f"<think>{LINES}{TOTALS}</think>{ANSWER}",  # no line breaks round the blocks
        f"\n  {GOOD} \n\n",  # white space outside
        GOOD.replace("\n", "\r\n"),  # CRLF
        GOOD.replace("</think>\n<answer>", "</think>\n\n\n<answer>"),  # blank lines between the blocks
        GOOD.replace("2. Aesthetics", "\n\n   2. Aesthetics"),  # blank lines and indentation inside
        GOOD.replace("<answer>Image 1 is better<", "<answer>\nImage 1 is better\n<"),  # an answer on its own line
        GOOD.replace("8+7=15", "8 + 7 = 15"),  # spaced sums
        GOOD.replace(TOTALS, "Total score: Image 1: 8+7=15; Image 2: 6+7=13\n"),  # sums on the heading's line
    ],
)
def test_both_layouts_and_their_white_space_read_the_same(text: str) -> None:
    assert parsed(text) == EXPECTED


RELEASED_LINES = (
    "1. Semantic consistency: Image 1 (9/10) - all there; Image 2 (7/10) - a hat less\n"
    "2. Aesthetics: Image 2 (8/10) - warm; light; Image 1 (8/10) - calm\n"
    "3. Authenticity: Image 1 (8/10) - real; Image 2 (5/10) - waxen\n"
    "Creativity: Image 2 (8/10) - bold; Image 1 (6/10) - plain\n"
    "[Layout]: Image 1 (6/10) - even; Image 2 (7/10) - crowded\n"
)
RELEASED_BLOCKS = (
    "        1. Semantic consistency: \n"
    "            Image 1 (9/10) - all there; \n            Image 2 (7/10) - a hat less\n"
    "        2. Aesthetics: \n            Image 1 (8/10) - calm; \n            Image 2 (8/10) - warm; light\n"
    "        3. Authenticity: \n            Image 1 (8/10) - real; \n            Image 2 (5/10) - waxen\n"
    "        Creativity: \n            Image 1 (6/10) - plain; \n            Image 2 (8/10) - bold\n"
    "        5. [Layout]: \n            Image 1 (6/10) - even; \n            Image 2 (7/10) - crowded\n"
)
RELEASED_TOTALS = "Total score:\nImage 1: 9+8+8+6+6=37\nImage 2: 7+8+5+8+7=35\n"


@pytest.mark.parametrize("lines", [RELEASED_LINES, RELEASED_BLOCKS])
def test_what_the_released_checkpoints_are_asked_to_write_reads(lines: str) -> None:
    """Candidates in either order on a line, further dimensions without a number, a semicolon between the two lines."""
    verdict = parsed(f"<think>\n{lines}{RELEASED_TOTALS}</think>\n{ANSWER}")
    assert [one.scores for one in verdict.dimensions] == [(9, 7), (8, 8), (8, 5), (6, 8), (6, 7)]
    assert [one.rationales for one in verdict.dimensions][1] == ("calm", "warm; light")
    assert [one.rationales for one in verdict.dimensions][3] == ("plain", "bold")
    assert [one.name for one in verdict.dimensions][3:] == ["Creativity", "[Layout]"]
    assert verdict.sums_agree and verdict.answer_agrees


@pytest.mark.parametrize(
    "lines",
    [
        RELEASED_LINES.replace("2. Aesthetics", "Aesthetics"),  # a core dimension needs its number
        RELEASED_LINES.replace("Creativity", "5. Creativity"),  # a number that is there must be the right one
        RELEASED_LINES.replace("Creativity", "- Creativity"),  # bullets
        RELEASED_LINES.replace("Creativity", "**Creativity"),  # Markdown
        RELEASED_LINES.replace("Creativity: Image", "So Image"),  # prose
        RELEASED_LINES.replace("[Layout]", "[Layout"),
        RELEASED_LINES.replace("Image 1 (6/10) - plain", "Image 2 (6/10) - plain"),  # the second twice
        RELEASED_LINES.replace("; Image 1 (6/10) - plain", ""),  # the second alone
        RELEASED_BLOCKS.replace("all there; ", ";"),  # a semicolon for a reason
    ],
)
def test_the_released_layouts_have_their_limits(lines: str) -> None:
    assert fault(f"<think>\n{lines}{RELEASED_TOTALS}</think>\n{ANSWER}") == Fault.BAD_DIMENSION


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Fault.MISSING_BLOCK),  # nothing at all
        ("   \n", Fault.MISSING_BLOCK),
        ("Image 1 is better", Fault.MISSING_BLOCK),  # the direct mode's answer
        (ANSWER, Fault.MISSING_BLOCK),  # no reasoning
        (GOOD.removesuffix(ANSWER), Fault.MISSING_BLOCK),  # no answer
        (GOOD[: len(GOOD) // 2], Fault.MISSING_BLOCK),  # cut off by a token limit
        (GOOD.replace("</think>", ""), Fault.MISSING_BLOCK),  # reasoning that never ends
        (GOOD.replace("</answer>", ""), Fault.MISSING_BLOCK),  # an answer that never ends
        (GOOD.replace("<think>", "</think>").replace("</think>\n<answer>", "<think>\n<answer>"), Fault.MISSING_BLOCK),
        (f"{ANSWER}\n<think>\n{LINES}{TOTALS}</think>", Fault.MISSING_BLOCK),  # the blocks the other way round
        (f"<think>\n{LINES}{TOTALS}{ANSWER}</think>", Fault.MISSING_BLOCK),  # the answer inside the reasoning
        (f"<think>\n{LINES}{TOTALS}<answer></think>Image 1 is better</answer>", Fault.MISSING_BLOCK),  # overlapping
        (GOOD.replace("think>", "THINK>"), Fault.MISSING_BLOCK),  # tags in capitals
        (GOOD + ANSWER, Fault.REPEATED_BLOCK),  # one answer twice
        (GOOD + GOOD, Fault.REPEATED_BLOCK),  # everything twice
        (GOOD + ANSWER.replace("1", "2"), Fault.REPEATED_BLOCK),  # hedged over two blocks
        (f"<think>\n<think>\n{LINES}{TOTALS}</think>\n</think>\n{ANSWER}", Fault.REPEATED_BLOCK),  # nested
        (GOOD.replace("calm", "<answer> calm"), Fault.REPEATED_BLOCK),  # a tag within a rationale
        (f"Sure!\n{GOOD}", Fault.TEXT_OUTSIDE),
        (f"{GOOD}\nHope this helps.", Fault.TEXT_OUTSIDE),
        (GOOD.replace("</think>\n", "</think>\nSo: "), Fault.TEXT_OUTSIDE),
        (f"\ufeff{GOOD}", Fault.TEXT_OUTSIDE),  # a byte order mark is no white space
        (f"<think>\n{TOTALS}</think>\n{ANSWER}", Fault.NO_DIMENSION),
        (f"<think></think>{ANSWER}", Fault.NO_DIMENSION),
        (f"<think>\nImage 1 looks nicer.\n{TOTALS}</think>\n{ANSWER}", Fault.BAD_DIMENSION),  # prose
        (GOOD.replace("2. Aesthetics", "3. Aesthetics"), Fault.BAD_DIMENSION),  # a number left out
        (GOOD.replace("2. Aesthetics", "1. Aesthetics"), Fault.BAD_DIMENSION),  # a number twice
        (GOOD.replace("1. Sem", "- Sem"), Fault.BAD_DIMENSION),  # bullets
        (GOOD.replace("2. Aesthetics:", "2. :"), Fault.BAD_DIMENSION),  # a dimension without a name
        (GOOD.replace("2. Aesthetics:", "2. Aesthetics"), Fault.BAD_DIMENSION),  # no colon
        (GOOD.replace("; Image 2 (7/10) - good light", ""), Fault.BAD_DIMENSION),  # the second is not judged
        (GOOD.replace("Image 1 (7/10) - calm colours; ", ""), Fault.BAD_DIMENSION),  # the first is not judged
        (GOOD.replace(" - calm colours", ""), Fault.BAD_DIMENSION),  # a score without a reason
        (GOOD.replace("calm colours", " "), Fault.BAD_DIMENSION),  # a reason of white space
        (GOOD.replace("(8/10)", "8/10"), Fault.BAD_DIMENSION),  # no brackets
        (GOOD.replace("(8/10)", "(8.5/10)"), Fault.BAD_DIMENSION),  # no whole number
        (GOOD.replace("(8/10)", "(-8/10)"), Fault.BAD_DIMENSION),
        (GOOD.replace("(8/10)", "(8/100)"), Fault.BAD_DIMENSION),  # another scale
        (GOOD.replace("(8/10)", "(８/10)"), Fault.BAD_DIMENSION),  # noqa: RUF001 - a full-width digit
        (GOOD.replace("(8/10)", "(٨/10)"), Fault.BAD_DIMENSION),  # an Arabic digit
        (GOOD.replace("(8/10)", "(0/10)"), Fault.SCORE_OUT_OF_RANGE),
        (GOOD.replace("(8/10)", "(11/10)"), Fault.SCORE_OUT_OF_RANGE),
        (GOOD.replace("(6/10)", "(100000/10)"), Fault.SCORE_OUT_OF_RANGE),
        (GOOD.replace("(8/10)", f"({'9' * 5000}/10)"), Fault.BAD_DIMENSION),  # more digits than int() takes
        (GOOD.replace("(7/10) - calm", "(12/10) - calm"), Fault.SCORE_OUT_OF_RANGE),  # in a later dimension
        (f"<think>\n{BLOCKS}</think>\n{ANSWER}", Fault.BAD_TOTAL),  # no sums
        (GOOD.replace("Image 2: 6+7=13\n", ""), Fault.BAD_TOTAL),  # one sum
        (GOOD.replace("6+7=13\n", "6+7=13\nImage 2: 6+7=13\n"), Fault.BAD_TOTAL),  # three sums
        (GOOD.replace("6+7=13\n", "6+7=13\nSo the first wins.\n"), Fault.BAD_TOTAL),  # a conclusion below
        (GOOD.replace("Image 1: 8+7=15\nImage 2: 6+7=13", "Image 2: 6+7=13\nImage 1: 8+7=15"), Fault.BAD_TOTAL),
        (GOOD.replace("8+7=15", "15"), Fault.BAD_TOTAL),  # not written out
        (GOOD.replace("8+7=15", "8+7"), Fault.BAD_TOTAL),  # not added up
        (GOOD.replace("8+7=15", "8+7=15.0"), Fault.BAD_TOTAL),
        (GOOD.replace("8+7=15", "8+7=-15"), Fault.BAD_TOTAL),
        (GOOD.replace("8+7=15", "8++7=15"), Fault.BAD_TOTAL),
        (GOOD.replace("Image 1 is better", "Image 1"), Fault.BAD_ANSWER),
        (GOOD.replace("Image 1 is better", "1"), Fault.BAD_ANSWER),
        (GOOD.replace("Image 1 is better", ""), Fault.BAD_ANSWER),
        (GOOD.replace("Image 1 is better", "1 or 2"), Fault.BAD_ANSWER),  # hedged
        (GOOD.replace("Image 1 is better", "Image 1 is better or Image 2 is better"), Fault.BAD_ANSWER),
        (GOOD.replace("Image 1 is better", "Image 1 is better."), Fault.BAD_ANSWER),  # one character too many
        (GOOD.replace("Image 1 is better", "image 1 is better"), Fault.BAD_ANSWER),
        (GOOD.replace("Image 1 is better", "Image 3 is better"), Fault.BAD_ANSWER),
        (GOOD.replace("Image 1 is better", "Video 1 is better"), Fault.BAD_ANSWER),  # another task's noun
        (GOOD.replace("Image 1 is better", "Image １ is better"), Fault.BAD_ANSWER),  # noqa: RUF001 - full-width
        (GOOD.replace("Image 1 is better", "Both images are equally good"), Fault.BAD_ANSWER),  # ties: direct mode only
    ],
)
def test_anything_else_is_malformed_with_its_reason(text: str, reason: Fault) -> None:
    assert fault(text) == reason


def test_a_line_is_cut_at_the_first_semicolon_that_the_other_candidates_score_follows() -> None:
    reason = "good light; Image 2 again; Image 2 (7/10) - as was said"
    text = GOOD.replace("calm colours", "calm; Image 2 less so").replace("good light", reason)
    assert parsed(text).dimensions[1].rationales == ("calm; Image 2 less so", reason)


def test_the_lowest_and_the_highest_score_are_scores() -> None:
    assert parsed(GOOD.replace("(8/10)", "(10/10)").replace("(6/10)", "(1/10)")).dimensions[0].scores == (10, 1)


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\n{BLOCKS.replace('   Image 2 (7/10) - good light', '')}{TOTALS}</think>\n{ANSWER}",  # one line short
        f"<think>\n{BLOCKS.replace('Image 1 (7/10)', 'Image 2 (7/10)')}{TOTALS}</think>\n{ANSWER}",  # the second twice
    ],
)
def test_a_broken_three_line_block_is_a_bad_dimension(text: str) -> None:
    assert fault(text) == Fault.BAD_DIMENSION


def test_two_extra_dimensions_are_allowed_and_a_third_is_not() -> None:
    def with_count(count: int) -> str:
        lines = "".join(f"{n}. D: Image 1 (2/10) - a; Image 2 (1/10) - b\n" for n in range(1, count + 1))
        first, second = "+".join("2" * count), "+".join("1" * count)
        totals = f"Total score:\nImage 1: {first}={2 * count}\nImage 2: {second}={count}\n"
        return f"<think>\n{lines}{totals}</think>\n{ANSWER}"

    most = len(CORE_DIMENSIONS[Task.IMAGE_GENERATION]) + MAX_EXTRA_DIMENSIONS
    assert parsed(with_count(most)).sums_agree
    assert fault(with_count(most + 1)) == Fault.TOO_MANY_DIMENSIONS


DIRECT: list[tuple[str, Preferred]] = [
    ("Image 1 is better", 1),
    ("  Image 2 is better\r\n", 2),
    ("Both images are equally good", "tie"),
    ("Image 1 is better.", 1),  # as the released checkpoints' direct prompts quote it
    ("Both images are equally good.", "tie"),
    ("<answer>Image 2 is better</answer>", 2),  # in its block
    ("\n<answer>\nBoth images are equally good\n</answer>\n", "tie"),
]


@pytest.mark.parametrize(("text", "preferred"), DIRECT)
def test_direct_mode_reads_one_sentence_and_ties(text: str, preferred: Preferred) -> None:
    verdict = parsed(text, mode="direct")
    assert verdict == Verdict(task=Task.IMAGE_GENERATION, preferred=preferred)
    assert not verdict.sums_agree and not verdict.answer_agrees  # there are none that could


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Fault.BAD_ANSWER),
        ("Image 1", Fault.BAD_ANSWER),
        ("Image 1 is better than Image 2", Fault.BAD_ANSWER),
        ("Image 1 is better..", Fault.BAD_ANSWER),
        ("Image 1 is better!", Fault.BAD_ANSWER),
        ("I think Image 1 is better", Fault.BAD_ANSWER),
        ("Image 1 is better\nImage 2 is better", Fault.BAD_ANSWER),  # both
        ("Both answers are equally good", Fault.BAD_ANSWER),  # another task's noun
        ("It is dark. <answer>Image 1 is better</answer>", Fault.TEXT_OUTSIDE),
        (GOOD, Fault.TEXT_OUTSIDE),  # reasoning was not asked for
        (ANSWER + ANSWER, Fault.REPEATED_BLOCK),
        ("<answer>Image 1 is better", Fault.MISSING_BLOCK),
        ("Image 1 is better</answer>", Fault.MISSING_BLOCK),
    ],
)
def test_direct_mode_takes_nothing_else(text: str, reason: Fault) -> None:
    assert fault(text, mode="direct") == reason


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("other", list(Task))
def test_the_nouns_of_another_task_are_malformed(task: Task, other: Task) -> None:
    dimensions = (Dimension("D", (8, 3), ("a", "b")),)
    text = render_verdict(Verdict.from_dimensions(task, dimensions, 1))
    same = candidate_names(task) == candidate_names(other)
    assert isinstance(parse_verdict(text, other), Verdict) == same
    assert isinstance(parse_verdict(answer_text(task, 1), other, mode="direct"), Verdict) == same
