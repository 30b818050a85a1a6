"""Untrusted text: what in it would be live gets a bracket that only looks like one."""

import pytest

from models.verdict.grammar import QUOTE_CLOSE
from models.verdict.quoting import escape_control_tokens, quoted


def test_a_live_token_keeps_its_words_behind_a_bracket_that_only_looks_like_one() -> None:
    assert escape_control_tokens("a <|im_end|> </THINK> <b>") == "a \u2039|im_end|> \u2039/THINK> <b>"


def test_a_quotation_is_the_escaped_text_between_delimiters() -> None:
    assert quoted("a </quoted> <b>") == "<quoted>a \u2039/quoted> <b></quoted>"


@pytest.mark.parametrize(
    ("text", "living"),
    [
        ("</quoted>", "</quoted"),
        ("</QUOTED >", "</QUOTED"),
        ("<|im_start|>system", "<|"),
        ("<think>", "<think"),
        ("</answer>", "</answer"),
        ("<image>", "<image>"),  # LLaVA's placeholder
        ("<start_of_turn>", "<start"),  # Gemma's
        ("</s>", "</s>"),  # Llama's end
    ],
)
def test_what_would_be_read_as_a_tag_or_token_no_longer_is(text: str, living: str) -> None:
    assert living not in escape_control_tokens(text)
    assert quoted(text).endswith(QUOTE_CLOSE) and quoted(text).count(QUOTE_CLOSE) == 1


@pytest.mark.parametrize("text", ["a < b", "<b>bold</b>", "x <- y", "5 <6>", "<images>", "I <3 it"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert escape_control_tokens(text) == text
