"""Attention in a packed sequence: each prefix to itself, each suffix to its prefix and to itself.

It is registered with transformers beside its `sdpa`, which it calls, and to which it leaves all other inputs. A layer
gets the layout through the model's keyword arguments, so that whatever surrounds attention is the model's own code:
adapters, checkpointed activations and several processes work as they do without it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from models.training.prefix.packing import Layout

NAME = "sdpa_shared_prefix"
ARGUMENT = "shared_prefix"  # of the model's forward


class _Padded(torch.autograd.Function):
    """Tokens (first axis) into their blocks; the gradient of padding is left out, where none arrives."""

    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, layout: Layout) -> torch.Tensor:
        ctx.layout = layout
        return tokens.index_select(0, layout.padded)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient.index_select(0, ctx.layout.places), None


class _Unpadded(torch.autograd.Function):
    """The way back: blocks to tokens, a gather in both directions, where autograd's own would add rows one by one."""

    @staticmethod
    def forward(ctx: Any, blocks: torch.Tensor, layout: Layout) -> torch.Tensor:
        ctx.layout = layout
        return blocks.index_select(0, layout.places)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        whole = gradient.new_zeros(len(ctx.layout.padded), *gradient.shape[1:])
        return whole.index_copy_(0, ctx.layout.places, gradient), None


def shared_prefix_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    shared_prefix: Layout | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it: `query`, `key` and `value` (1, heads, tokens, width) to (1, tokens, heads, width)."""
    if shared_prefix is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    layout = shared_prefix
    whole = sum(layout.prefixes)
    found: list[torch.Tensor] = []
    parts = [one.transpose(1, 2)[0].split([whole, one.shape[2] - whole]) for one in (query, key, value)]
    prefixes = list(zip(*(one.split(layout.prefixes) for one, _ in parts), strict=True))
    for queries, keys, values in prefixes:
        if len(queries):
            q, k, v = (one.transpose(0, 1)[None] for one in (queries, keys, values))
            found.append(sdpa_attention_forward(module, q, k, v, None, **more)[0][0])
    sizes = [count * longest for count, longest in layout.blocks]
    blocks = zip(*(_Padded.apply(one, layout).split(sizes) for _, one in parts), strict=True)
    made = []
    for (queries, *own), (_, *before), (count, longest), mask in zip(
        blocks, prefixes, layout.blocks, layout.masks, strict=True
    ):
        keys, values = (
            torch.cat([ahead.expand(count, *ahead.shape), one.view(count, longest, *one.shape[1:])], dim=1)
            for one, ahead in zip(own, before, strict=True)
        )
        q, k, v = (one.transpose(1, 2) for one in (queries.view(count, longest, *queries.shape[1:]), keys, values))
        made.append(sdpa_attention_forward(module, q, k, v, mask[None, None], **more)[0].flatten(0, 1))
    found.append(_Unpadded.apply(torch.cat(made), layout))
    return torch.cat(found)[None], None


@contextmanager
def attending_alone(model: Any) -> Iterator[None]:
    """Within this context a model attends as one that shares no prefixes, so that decoding may choose its attention."""
    config = model.config.get_text_config()
    shares = config._attn_implementation == NAME  # noqa: SLF001
    if shares:
        config._attn_implementation = "sdpa"  # noqa: SLF001
    try:
        yield
    finally:
        if shares:
            config._attn_implementation = NAME  # noqa: SLF001


AttentionInterface.register(NAME, shared_prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
