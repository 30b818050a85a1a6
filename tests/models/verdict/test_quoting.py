"""Untrusted text: what in it would be live gets a bracket that only looks like one."""

from models.verdict.quoting import escape_control_tokens


def test_a_live_token_keeps_its_words_behind_a_bracket_that_only_looks_like_one() -> None:
    assert escape_control_tokens("a <|im_end|> </THINK> <b>") == "a \u2039|im_end|> \u2039/THINK> <b>"
