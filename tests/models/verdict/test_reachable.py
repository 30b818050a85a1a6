"""When no verdict can begin as a text does: then neither reading finds one in it, whatever follows."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.pairs.preference import Task
from models.verdict.grammar import Malformed, Verdict
from models.verdict.lenient import parse_lenient
from models.verdict.parsing import parse_verdict
from models.verdict.reachable import UNFINISHED, opens_thinking
from tests.models.verdict.examples import BLOCKS, GOOD, LINES, TASK, reasoned

BEGINNINGS = (
    "", " \n\t", "\u3000\u00a0", "```\n", "```markdown\n", " ``` \n\n", "**", "*`", "__", "```xml\n**", "`",
)  # fmt: skip
VERDICTS = (GOOD, GOOD.replace("think>", "THINK>"), GOOD.replace("<think>", "< think >"), reasoned(BLOCKS + "Totals\n"))
PIECES = (
    "<think>", "<th", "ink>", "< Think >", "</think>", "<answer>", "</answer>", "```", "```json", "**", "__", "_", "`",
    "\n", " ", "\u3000", "x", "1. ", UNFINISHED, "\u0131", GOOD[7:], LINES, GOOD,
)  # fmt: skip


@pytest.mark.parametrize("before", BEGINNINGS)
@pytest.mark.parametrize("verdict", VERDICTS)
def test_nothing_that_a_reading_takes_is_given_up_at_any_token(before: str, verdict: str) -> None:
    text = before + verdict
    read = isinstance(parse_lenient(text, TASK), Verdict) or isinstance(parse_verdict(text, TASK), Verdict)
    assert read or "Totals" in text, "an example that nothing reads shows nothing"
    assert all(opens_thinking(text[:end]) is not False for end in range(len(text) + 1))
    assert opens_thinking(text) is True


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)), st.data())
@example("```json x\n" + GOOD, None)
@example("Sure!\n" + GOOD, None)
def test_what_is_given_up_is_malformed_whatever_follows(text: str, data: st.DataObject | None) -> None:
    ends = range(len(text) + 1) if data is None else [data.draw(st.integers(0, len(text)))]
    end = next((end for end in ends if opens_thinking(text[:end]) is False), None)
    if end is None:
        return
    for task in Task:
        for reading in (parse_verdict, parse_lenient):
            assert isinstance(reading(text, task), Malformed)
            assert isinstance(reading(text[:end], task), Malformed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        (" \n", None),
        ("<", None),
        ("<thin", None),
        ("<think>", True),
        ("<think>\n1. Aesthetics", True),
        ("\n <THINK> ", True),
        ("1", False),
        ("Image 1 is better", False),
        ("<answer>", False),
        ("</think>", False),
        ("``", None),  # a code fence, perhaps
        ("```js", None),
        ("```js x", False),
        (UNFINISHED, None),  # an ideographic space takes three bytes, and perhaps three tokens
        (f"<{UNFINISHED}", None),
        (f"{UNFINISHED}a", False),
    ],
)
def test_it_is_said_as_soon_as_it_is_certain(text: str, expected: bool | None) -> None:
    assert opens_thinking(text) is expected
