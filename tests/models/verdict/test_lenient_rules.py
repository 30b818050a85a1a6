"""The lenient reading rule by rule: what else it takes, and what it does not, each change alone."""

import pytest

from models.pairs.preference import Preferred, Task
from models.verdict.grammar import Dimension, Fault, Malformed, Mode, Total, Verdict
from models.verdict.lenient import parse_lenient

TASK = Task.IMAGE_GENERATION
HALVES = "Image 1: 8/10 - calm; Image 2: 3/10 - loud"
BODY = f"1. Aesthetics: {HALVES}\n2. Light: Image 1: 7/10 - a; Image 2: 6/10 - b\n"
TOTALS = "Total: Image 1: 15/20, Image 2: 9/20\n"
READ = Verdict(
    TASK,
    1,
    (Dimension("Aesthetics", (8, 3), ("calm", "loud")), Dimension("Light", (7, 6), ("a", "b"))),
    (Total((8, 7), 15), Total((3, 6), 9)),
)


def text(body: str = BODY, totals: str = TOTALS, answer: str = "Image 1 is better") -> str:
    return f"<think>\n{body}{totals}</think>\n<answer>{answer}</answer>"


@pytest.mark.parametrize(
    "given",
    [
        text(),
        text(totals="Overall score\nImage 1 = 15\nImage 2 = 9 points\n"),
        text(totals="SUMS:\n- image 1 total: 8 + 7 = 15\n- image 2 total: 3+6=9.\n"),
        text(totals="Total scores:\n| Image 1 score - 8/10+7/10=15/20 | Image 2: 9 |\n"),
        text(BODY.replace(HALVES, "Image 2 [3/10]: loud | Image 1 - 8 / 10, calm")),
        text(BODY.replace("1. Aesthetics", "(1) Aesthetics").replace("2. Light", "## 2) Light")),
        text(BODY.replace("Image 1: 8/10", "IMAGE 1 scores (8.0/10)").replace("Image 2", "image 2")),
        text(BODY.replace("Image 1: 8/10", "`Image 1`\uff1a\u00a08\uff0f10")),
        text(BODY.replace("Aesthetics: Image", "Aesthetics\n• Image").replace("; Image 2: 3", "\n• Image 2: 3")),
        text(BODY.replace("1. Aesthetics", "__Aesthetics__")),
        f"<think>\n{BODY}{TOTALS}</think>\nImage 1 is better.",  # the answer stands behind the block
        f"```text\n< THINK >\n{BODY}{TOTALS}< / think >< Answer >\nImage 1\n</ answer >\n```",
        text(answer='My final verdict is: "Image 1 is better!"'),
        text(answer="The answer: IMAGE 1."),
        text(answer="final judgement: image 1 is better. "),
        text(answer='"The answer: Image 1"'),
        text(answer='The answer: "Image 1 is better.".'),
        text(BODY.replace("Aesthetics: Image", "Aesthetics:Image")),  # no space before a score
    ],
)  # fmt: skip
def test_what_says_the_same_reads_the_same(given: str) -> None:
    assert parse_lenient(given, TASK) == READ


def test_scores_and_totals_may_have_fractions() -> None:
    said = text(BODY.replace("8/10", "7.5/10"), "Total: Image 1: 7.5+7=14.5, Image 2: 9.25\n")
    read = parse_lenient(said, TASK)
    assert isinstance(read, Verdict)
    assert (read.dimensions[0].scores, read.totals) == ((7.5, 3), (Total((7.5, 7), 14.5), Total((3, 6), 9.25)))


def test_a_score_that_a_reason_mentions_is_none_and_a_line_without_one_names_the_next() -> None:
    read = parse_lenient(text(BODY.replace("- calm", "- better than Image 2 (3/10) by far")), TASK)
    assert isinstance(read, Verdict)
    assert read.dimensions[0].rationales == ("better than Image 2 (3/10) by far", "loud")
    apart = text(BODY.replace("1. Aesthetics: ", "Let us see.\n1. **Aesthetics**:\n"))
    assert parse_lenient(apart, TASK) == READ


def test_one_dimension_is_enough_and_five_are_the_most() -> None:
    def with_dimensions(count: int) -> Verdict | Malformed:
        return parse_lenient(text("".join(f"{at}. D{at}: {HALVES}\n" for at in range(1, count + 1))), TASK)

    for count in (1, 5):
        read = with_dimensions(count)
        assert isinstance(read, Verdict)
        assert [one.name for one in read.dimensions] == [f"D{at}" for at in range(1, count + 1)]
    assert isinstance(with_dimensions(6), Malformed)


def test_the_lowest_and_the_highest_score_are_scores() -> None:
    read = parse_lenient(text(BODY.replace("8/10", "10/10").replace("3/10", "1/10")), TASK)
    assert isinstance(read, Verdict)
    assert read.dimensions[0].scores == (10, 1)


def test_marks_are_cut_off_names_and_reasons_and_letters_are_not() -> None:
    body = "1. X-ray look -: Image 1: 8/10 - X; | Image 2: 3/10 - size XX;\n### Box X -\nImage 1: 7/10\nImage 2: 6/10\n"
    read = parse_lenient(text(body), TASK)
    assert isinstance(read, Verdict)
    assert [one.name for one in read.dimensions] == ["X-ray look", "Box X"]
    assert [one.rationales for one in read.dimensions] == [("X", "size XX"), ("", "")]


def test_a_reason_ends_where_the_next_score_of_its_line_begins() -> None:
    line = "Image 2: 3/10 - loud; Image 1: 7/10 - a; Image 2: 6/10 - b"
    assert parse_lenient(text(f"1. Aesthetics: Image 1: 8/10 - calm\nLight\n{line}\n"), TASK) == READ


@pytest.mark.parametrize(
    "given",
    [
        text(BODY.replace("8/10", "0.5/10")),
        text(BODY.replace("8/10", "10.5/10")),
        text(BODY.replace("Image 2: 3/10", "Image 1: 3/10")),  # one candidate twice
        text(BODY.replace("; Image 2: 6/10 - b", "")),  # and one never
        text(BODY.replace("1. Aesthetics: ", "")),  # a dimension without a name
        text(""),
        text(BODY * 3),  # six dimensions
        text(totals="Image 1: 15/20, Image 2: 9/20\n"),  # no heading
        text(totals="Total: Image 1: 15/20\n"),
        text(totals="Total: Image 1: 15/20, Image 1: 15/20, Image 2: 9/20\n"),
        text(totals="Total: Image 1: fifteen, Image 2: 9/20\n"),
        f"Hm. {text()}",
        f"{text()} Hm.",
        text().replace("</think>\n", "</think>\nHm.\n"),
        text().replace("<answer>", "").replace("</answer>", "").replace("<think>", ""),
        text(answer="Both images are equally good"),  # a thinking verdict has no tie
        text(answer="Answer 1"),
        text(answer="1"),
        text(answer="Image 1 X"),  # more words
        text(BODY.replace("1. Aesthetics: Image 1", "1. A Image 1")),  # a word before the name: a mention
        text(f"1. Aesthetics: {HALVES}; Light: Image 1: 7/10 - a; Image 2: 6/10 - b\n"),  # two on a line: which name?
    ],
)
def test_what_does_not_is_malformed(given: str) -> None:
    assert isinstance(parse_lenient(given, TASK), Malformed)


@pytest.mark.parametrize(
    ("given", "preferred"),
    [
        ("image 2", 2), ("Image 1 is better!!", 1), ("<ANSWER> “Image 2 is better” </ANSWER>", 2),
        ("*Both images are equally good*", "tie"), ("Verdict: both images are equally good.", "tie"),
    ],
)  # fmt: skip
def test_a_short_answer_may_be_a_tie(given: str, preferred: Preferred) -> None:
    assert parse_lenient(given, TASK, mode="direct") == Verdict(TASK, preferred)


@pytest.mark.parametrize(
    ("given", "mode", "read"),
    [
        ("", "direct", Malformed(Fault.BAD_ANSWER, 0)),
        ("So: <answer>Image 1</answer>", "direct", Malformed(Fault.TEXT_OUTSIDE, 0)),
        ("<answer>Image 1</answer> So.", "direct", Malformed(Fault.TEXT_OUTSIDE, 25)),
        ("<think>Image 1</think>", "direct", Malformed(Fault.BAD_ANSWER, 0)),
        ("<answer>Image 1</answer>", "think", Malformed(Fault.MISSING_BLOCK, 0)),
    ],
)
def test_what_is_malformed_has_the_fault_of_the_grammar(given: str, mode: Mode, read: Malformed) -> None:
    assert parse_lenient(given, TASK, mode=mode) == read
