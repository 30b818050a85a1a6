"""Reading any text at all: it never raises, and its time grows with the text's length."""

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.pairs.preference import Task
from models.verdict.grammar import Verdict
from models.verdict.parsing import parse_verdict
from tests.models.verdict.examples import ANSWER, GOOD, TOTALS

PIECES = (
    "<think>", "</think>", "<answer>", "</answer>", "Total score:", "Image 1", "Image 2", "; ", ": ", "1. ", "2. ",
    "A:", " (8/10) - ", "(11/10)", "8+7=15", "Image 1 is better", "\n", "\r\n", " ", "\u2028", "٣",
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)), st.sampled_from(list(Task)))
@example("<think><answer>", Task.IMAGE_GENERATION)
@example("\ud800", Task.IMAGE_GENERATION)  # a lone surrogate
def test_reading_never_raises(text: str, task: Task) -> None:
    for mode in ("think", "direct"):
        verdict = parse_verdict(text, task, mode=mode)
        assert isinstance(verdict, Verdict) or 0 <= verdict.position <= len(text)


def inside(filling: str) -> str:
    return f"<think>\n{filling}\n{TOTALS}</think>\n{ANSWER}"


LONG: dict[str, Callable[[int], str]] = {
    "second names without scores": lambda n: inside("1. A: Image 1 (8/10) - a" + "; Image 2" * n),
    "first names without scores": lambda n: inside("1. A: Image 2 (8/10) - a" + "; Image 1" * n),
    "brackets that never close": lambda n: GOOD.replace("Total", "[" * n + "\nTotal"),
    "half a score again and again": lambda n: inside("1. A: Image 1 (8/10) - a" + "; Image 2 (1" * n),
    "brackets": lambda n: inside("1. A: Image 1 " + "(1" * n),
    "blank lines": lambda n: inside("\n" * n),
    "spaces": lambda n: inside(" " * n + "x"),
    "space outside": lambda n: " " * n + GOOD + "\t" * n,
    "dimensions": lambda n: inside("\n".join(f"{k}. A: Image 1 (8/10) - a; Image 2 (1/10) - b" for k in range(1, n))),
    "a sum without an end": lambda n: GOOD.replace("8+7=15", "8+" * n),
    "a sum of digits": lambda n: GOOD.replace("8+7=15", "1" * n),
    "a long sum": lambda n: GOOD.replace("8+7=15", "8+" * n + "7=15="),
    "semicolons on the heading's line": lambda n: GOOD.replace("score:", "score:" + ";" * n),
    "opening tags": lambda n: "<think>" * n,
    "angle brackets": lambda n: "<" * n,
    "a name that never ends": lambda n: inside("1. " + "a" * n),
    "a rationale": lambda n: GOOD.replace("calm colours", "calm; " * n + "x"),
}


@pytest.mark.parametrize("kind", LONG)
def test_reading_time_grows_with_the_length_of_the_text(kind: str) -> None:
    def seconds(text: str) -> float:
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            parse_verdict(text, Task.IMAGE_GENERATION)
            best = min(best, time.process_time() - start)
        return best

    short, long = LONG[kind](4_000), LONG[kind](40_000)
    # A reader of quadratic time needs 100 times as long for 10 times the text; a millisecond is the clock's noise.
    assert seconds(long) < 40 * seconds(short) + 0.02
