"""What is written: verdicts that read back as themselves, and answers put together from their parts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.pairs.preference import Preferred, Task
from models.verdict.grammar import MAX_SCORE, MIN_SCORE, Dimension, Total, Verdict, candidate_names
from models.verdict.parsing import parse_verdict
from models.verdict.rendering import render_verdict, with_opening, with_reasoning
from tests.models.verdict.examples import ANSWER, EXPECTED, GOOD, TASK


@pytest.mark.parametrize(
    "rationale",
    [
        "sharp; well lit; calm",  # semicolons
        "3 of 4 hats, 10/10 would look again, 16:9",  # digits, slashes, colons
        "better than Image 2 (which is dark)",  # names the other one
        "as good; Image 2 (too dark) has less; Image 2 is worse",  # a semicolon and the other's name
        "unlike; Image 2 (no score)",  # what opens the second half, but without a score
        "Total score: none given",  # the heading's words
        "Image 1 is better",  # an answer in the reasoning
        "größer, 明るい, 🙂",
        "a <b> & c > d",
        "=1+1",
    ],
)
def test_a_rationale_may_hold_anything_but_a_line_break(rationale: str) -> None:
    one = Verdict.from_dimensions(
        Task.IMAGE_GENERATION, (Dimension("Aesthetics", (8, 3), (rationale, rationale.replace("Image 2 (", "it "))),), 1
    )
    assert parse_verdict(render_verdict(one), one.task) == one


@pytest.mark.parametrize(
    "rationale",
    ["", " padded", "two\nlines", "it says <answer> here", "bright; Image 2 (7/10) - as said before"],
)
def test_a_verdict_that_would_not_read_back_is_not_written(rationale: str) -> None:
    one = Verdict.from_dimensions(Task.IMAGE_GENERATION, (Dimension("Aesthetics", (8, 3), (rationale, "dark")),), 1)
    with pytest.raises(ValueError, match="reads back as itself"):
        render_verdict(one)


def test_the_layout_that_is_written() -> None:
    assert render_verdict(EXPECTED) == GOOD


def test_a_verdict_is_written_in_either_mode_and_a_thinking_one_has_totals() -> None:
    verdict = Verdict.from_dimensions(TASK, (Dimension("A", (8, 3), ("a", "b")),), 1)
    assert render_verdict(verdict, mode="direct") == "Image 1 is better"
    assert render_verdict(verdict).startswith("<think>\n1. A: Image 1 (8/10) - a; Image 2 (3/10) - b\n")
    with pytest.raises(ValueError, match=r"^a thinking verdict needs totals: build it with Verdict\.from_dimensions$"):
        render_verdict(Verdict(TASK, 1))


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


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40)
scores = st.integers(MIN_SCORE, MAX_SCORE)


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    task = draw(st.sampled_from(list(Task)))
    second = candidate_names(task)[1]
    reasons = words.map(str.strip).filter(lambda text: bool(text) and "<" not in text and f"; {second}" not in text)
    names = words.map(str.strip).filter(lambda text: bool(text) and ":" not in text and "<" not in text)
    dimension = st.builds(Dimension, names, st.tuples(scores, scores), st.tuples(reasons, reasons))
    dimensions = tuple(draw(st.lists(dimension, min_size=1, max_size=5)))
    preferred: Preferred = draw(st.sampled_from([1, 2]))
    honest = Verdict.from_dimensions(task, dimensions, preferred)
    if draw(st.booleans()):
        return honest
    terms = st.lists(st.integers(0, 999_999), min_size=1, max_size=6).map(tuple)
    total = st.builds(Total, terms, st.integers(0, 999_999))
    return Verdict(task, preferred, dimensions, (draw(total), draw(total)))


@settings(max_examples=60)
@given(verdicts())
def test_what_is_written_reads_back_as_itself(verdict: Verdict) -> None:
    assert parse_verdict(render_verdict(verdict), verdict.task) == verdict
