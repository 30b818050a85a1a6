"""Log-probabilities of labels, with logits where there are labels alone, and once.

TRL's fused head (1.16) scores every position where it has no Triton kernel, prompts and padding too, and computes the
logits again in the backward pass. Here hidden states of positions with a label are gathered first. A head that is not
trained needs of each position d log p / dh = W_label - sum_v p_v W_v, which the forward pass can keep: one vector of
the hidden size. Entropy comes from the same vector, since sum_v p_v z_v = h . sum_v p_v W_v.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import torch
from trl.kernels import ChunkedLogProbFunction
from trl.trainer.utils import FusedCausalLMOutput

AT_ONCE = 2**20  # logits computed together, for which a core's cache has room
FEWEST = 128  # positions computed together even so, for the matrix product to be worth it
OUTPUTS = ("log_probs", "entropy", "is_top1")  # what TRL's trainer logs
VOCABULARY_AT_ONCE = 32_768  # TRL's own


class _FrozenHead(torch.autograd.Function):
    """Log-probability, entropy and whether it is the likeliest, of the label of each of N positions."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, labels: Any) -> tuple[Any, Any, Any]:
        """Each (N,), in float32; `hidden` is (N, H), `weight` (V, H) in the type that is computed in."""
        rows = max(FEWEST, AT_ONCE // len(weight))
        slopes = torch.empty_like(hidden) if hidden.requires_grad else None
        found = [_scored(hidden, weight, labels, start, start + rows, slopes) for start in range(0, len(hidden), rows)]
        empty = hidden.new_zeros(0, dtype=torch.float32)
        scores, entropies, best = (torch.cat(one) for one in zip(*found, strict=True)) if found else (empty,) * 3
        ctx.slopes = slopes
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(entropies, best)
        return scores, entropies, best

    @staticmethod
    def backward(ctx: Any, gradient: Any, *_: Any) -> Any:
        """That of the hidden states."""
        return (None if gradient is None else ctx.slopes * gradient.unsqueeze(-1).to(ctx.slopes.dtype)), None, None


def _scored(hidden: Any, weight: Any, labels: Any, start: int, end: int, slopes: Any) -> tuple[Any, Any, Any]:
    some, wanted = hidden[start:end].to(weight.dtype), labels[start:end]
    logits = (some @ weight.t()).float()
    chosen = logits.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
    largest, first = logits.max(-1)
    shares = logits.sub_(largest.unsqueeze(-1)).exp_()
    total = shares.sum(-1)
    normaliser = largest + total.log()
    mean = (shares.to(weight.dtype) @ weight).float() / total.unsqueeze(-1)
    if slopes is not None:
        slopes[start:end] = (weight[wanted].float() - mean).to(slopes.dtype)
    return chosen - normaliser, normaliser - (some.float() * mean).sum(-1), first == wanted


def score_labels_alone(model: Any) -> None:
    """Have `model(..., fused_lm_head=True)`, which TRL has put in, score labels so, where its head is a plain product.

    A call may bring `media` beside: `media()` gives `mm_encoder_outputs`, computed within the forward pass.
    `log_probs`, `entropy` and `is_top1` are then those of the positions with labels, one after the other.
    """
    scored_by_trl = model.forward
    config = model.config.get_text_config()
    scaled = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
    plain = model.get_output_embeddings().bias is None and not any(getattr(config, name, None) for name in scaled)

    @functools.wraps(type(model).forward)  # `generate` reads the signature
    def forward(
        self: Any, *args: Any, fused_lm_head: bool = False, media: Callable[[], Any] | None = None, **more: Any
    ) -> Any:
        if media is not None:
            more["mm_encoder_outputs"] = media()
        labels, kernels = more.get("labels"), self.device.type == "cuda"  # where TRL scores labels alone by itself
        if not fused_lm_head or not plain or kernels or labels is None or more.get("output_router_logits"):
            return scored_by_trl(*args, fused_lm_head=fused_lm_head, **more)
        del more["labels"]
        more["use_cache"] = False
        # Rows are padded on the right, which no real token attends to: causality is mask enough.
        padded = more.get("attention_mask")
        if padded is not None and more.get("position_ids") is not None and bool((padded[:, :1] == 1).all()):
            more["attention_mask"] = None
        hidden = self.base_model(*args, **more).last_hidden_state[:, :-1]
        return _output(hidden, labels[:, 1:], self.get_output_embeddings().weight)

    model.forward = types.MethodType(forward, model)


def _output(hidden: Any, labels: Any, weight: Any) -> Any:
    mask = labels != -100
    some, wanted = hidden[mask], labels[mask]
    kind = hidden.device.type
    if weight.requires_grad:
        args = (1.0, VOCABULARY_AT_ONCE, None, 1.0, OUTPUTS)
        scores, entropies, _, _, best = ChunkedLogProbFunction.apply(some, weight, None, wanted, *args)
    else:
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        with torch.autocast(kind, enabled=False):
            scores, entropies, best = _FrozenHead.apply(some, weight.to(dtype), wanted)
    # Also connected to the model where there is no label at all, so that each process has gradients to average.
    scores = scores + 0.0 * hidden[:1, :1].sum()
    return FusedCausalLMOutput(log_probs=scores, entropy=entropies, is_top1=best, label_mask=mask)
