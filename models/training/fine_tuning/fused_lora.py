"""A linear layer and its LoRA adapter as one function: the same sums in fewer passes over memory.

PEFT writes the layer's output, the adapter's, its scaled copy and their sum; here the matrix product itself adds the
adapter into the layer's output (`addmm` with beta = 1), and so with its part of the input's gradient. What is kept for
the backward pass is what PEFT keeps: the input and its projection to the rank.
"""

from collections.abc import Callable
from typing import Any

import torch

DEFAULT = "default"  # the name that PEFT gives to a model's only adapter


class _Fused(torch.autograd.Function):
    """`x W^T + b + scale (x A^T) B^T`: x (tokens, in), A (rank, in), B (out, rank), and W (out, in), not trained."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scale: float) -> Any:
        """The output, (tokens, out)."""
        low = x @ a.t()
        out = x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())
        ctx.save_for_backward(x, weight, a, b, low)
        ctx.scale = scale
        return out.addmm_(low, b.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        """Gradients of x, A and B."""
        x, weight, a, b, low = ctx.saved_tensors
        to_low = gradient @ b
        of_x = (gradient @ weight).addmm_(to_low, a, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        return of_x, None, None, (to_low.t() @ x).mul_(ctx.scale), (low.t() @ gradient).t().mul_(ctx.scale), None


def fuse_lora(model: Any) -> int:
    """Compute every layer of `model` that has one plain adapter so; returns how many layers.

    Layers with dropout, bias, a variant of LoRA, or another base than `nn.Linear` stay with PEFT, and so does each call
    while adapters are merged or disabled.
    """
    from peft.tuners.lora import Linear

    found = [one for one in model.modules() if isinstance(one, Linear) and _is_plain(one)]
    for layer in found:
        layer.forward = _fused_forward(layer, layer.forward)  # type: ignore[method-assign]
    return len(found)


def _is_plain(layer: Any) -> bool:
    base = layer.get_base_layer()
    return (
        type(base) is torch.nn.Linear
        and list(layer.lora_A) == [DEFAULT] == list(layer.active_adapters)
        and not layer.lora_variant
        and not layer.lora_bias[DEFAULT]
        and getattr(layer.lora_dropout[DEFAULT], "p", 0.0) == 0.0
        and not layer.fan_in_fan_out
        and not base.weight.requires_grad
    )


def _fused_forward(layer: Any, plain: Callable[..., Any]) -> Callable[..., Any]:
    def forward(x: Any, *args: Any, **more: Any) -> Any:
        base, a, b = layer.get_base_layer(), layer.lora_A[DEFAULT].weight, layer.lora_B[DEFAULT].weight
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        cast = torch.is_autocast_enabled(kind) or x.dtype == a.dtype == base.weight.dtype
        if args or more or layer.disable_adapters or layer.merged or not cast:
            return plain(x, *args, **more)
        parts = [None if one is None else one.to(dtype) for one in (base.weight, base.bias, a, b)]
        with torch.autocast(kind, enabled=False):
            flat = _Fused.apply(x.to(dtype).reshape(-1, x.shape[-1]), *parts, layer.scaling[DEFAULT])
        return flat.view(*x.shape[:-1], -1)

    return forward
