"""What a chat completion holds, as an endpoint words it: its text whole, and the tokens that were counted."""

from typing import Any

from models.verdict.rendering import with_opening, with_reasoning

Answer = dict[str, Any]  # text, finish_reason, prompt_tokens, completion_tokens


def whole_text(message: dict[str, Any]) -> str:
    """A message's text, with what a reasoning parser took out of it and what the prompt opened (models/verdict).

    vLLM calls that `reasoning`, and before 0.12 `reasoning_content` as DeepSeek's API and SGLang do.
    """
    content = message.get("content")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    text = content if isinstance(content, str) else ""
    return with_reasoning(reasoning, text) if isinstance(reasoning, str) and reasoning.strip() else with_opening(text)


def answer_of(completion: dict[str, Any]) -> Answer:
    """What is kept of a chat completion. A refusal has no content and reads as an empty text."""
    choice = (completion.get("choices") or [{}])[0]
    usage = completion.get("usage") or {}
    return {
        "text": whole_text(choice.get("message") or {}),
        "finish_reason": choice.get("finish_reason") or "",
        "prompt_tokens": usage.get("prompt_tokens") or 0,
        "completion_tokens": usage.get("completion_tokens") or 0,
    }
