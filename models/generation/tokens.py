"""Which tokens end an answer, and which a model never writes: of sampling, judging and rollouts alike."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from models.adapters import without_adapters

# Tags of media among a tokenizer's added tokens: `<|image_pad|>`, `<|vision_start|>`, `<image_soft_token>`, `[IMG]`.
_PLACEHOLDER = re.compile(r"[<\[].*(image|img|video|vision|audio).*[>\]]", re.IGNORECASE | re.DOTALL)
_ATTRIBUTES = ("image", "video", "audio", "vision_start", "vision_end")


def stop_tokens(model: Any, processor: Any) -> list[int]:
    """The tokenizer's end of turn, and every other token that the model's own generation config names as an end."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    others = [] if named is None else [named] if isinstance(named, int) else list(named)
    return list(dict.fromkeys([processor.tokenizer.eos_token_id, *others]))


@contextlib.contextmanager
def without_own_defaults(model: Any) -> Iterator[None]:
    """Where `model.generate` takes nothing from the model's own generation config, which is saved with it as it is.

    transformers fills up from it whatever a call leaves open: Qwen2.5-VL's penalty of repetitions would hold for greedy
    answers and samples, and rollouts would be drawn from a distribution that the loss does not score.
    """
    from transformers import GenerationConfig

    inner = without_adapters(model)
    own, inner.generation_config = inner.generation_config, GenerationConfig()
    try:
        yield
    finally:
        inner.generation_config = own


def placeholder_tokens(model: Any, processor: Any) -> list[int]:
    """Tokens that represent media or enclose them, in the order of their numbers.

    One that is written would be taken for a medium that is not there. An end of turn is never among them.
    """
    added = processor.tokenizer.added_tokens_decoder
    found = {number for number, token in added.items() if _PLACEHOLDER.fullmatch(str(token))}
    for name in _ATTRIBUTES:
        for holder in (processor, model.config):
            number = getattr(holder, f"{name}_token_id", None)
            if isinstance(number, int):
                found.add(number)
    return sorted(found - set(stop_tokens(model, processor)))


def written(tokens: list[int], stops: list[int]) -> tuple[list[int], bool]:
    """The tokens before the first end, and whether there is one.

    >>> written([5, 6, 2, 0, 0], [1, 2]), written([5, 6], [1, 2])
    (([5, 6], True), ([5, 6], False))
    """
    at = next((at for at, token in enumerate(tokens) if token in stops), None)
    return (tokens, False) if at is None else (tokens[:at], True)
