"""Two ways in which the vision towers of transformers compute the same in less time, many small images above all.

- Attention: the patches of all images are one sequence, and without flash attention there is a call for each layer and
  image. Here images of one length are a batch, and there is a call for each layer and length.
- Patches: a convolution whose kernel is its stride is a matrix product, which is several times as fast as `Conv3d`.
"""

from collections import defaultdict
from itertools import pairwise
from typing import Any

# transformers passes the images' borders to an implementation whose name has "flash" in it, and splits for any other.
NAME = "flash_like_sdpa_by_length"


def attend_by_length(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, *, cu_seq_lens_q: Any, **settings: Any
) -> tuple[Any, None]:
    """Scaled dot-product attention within each image, batched over the images of one length.

    `query`, `key` and `value` are 1 x heads x patches x width; `cu_seq_lens_q` (images + 1) is where each image begins
    and the last ends. Returns 1 x patches x heads x width, as transformers' implementations do.
    """
    import torch

    borders = cu_seq_lens_q.tolist()
    by_length: dict[int, list[int]] = defaultdict(list)
    for first, last in pairwise(borders):
        by_length[last - first].append(first)

    def attend(parts: list[Any]) -> Any:
        query, key, value = parts
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, dropout_p=settings.get("dropout", 0.0), scale=settings.get("scaling")
        )

    heads, width = query.shape[1], query.shape[-1]
    if len(by_length) == 1:  # all alike: a view, no copy
        (length,) = by_length
        parts = [one[0].unflatten(1, (-1, length)).transpose(0, 1) for one in (query, key, value)]
        return attend(parts).permute(0, 2, 1, 3).reshape(1, -1, heads, width), None
    pieces = []
    for length, starts in by_length.items():
        places = (torch.tensor(starts)[:, None] + torch.arange(length)).to(query.device)
        parts = [one[0][:, places].transpose(0, 1) for one in (query, key, value)]
        pieces.append((places.flatten(), attend(parts).transpose(0, 1).flatten(1, 2)))
    order = torch.cat([places for places, _ in pieces]).argsort()
    found = torch.cat([one for _, one in pieces], dim=1)[:, order]
    return found.transpose(0, 1).unsqueeze(0), None


class PatchProduct:
    """Embeds patches with the weights of a `Conv3d` whose kernel is its stride: patches x values -> patches x width."""

    def __init__(self, convolution: Any) -> None:
        self.convolution = convolution

    def __call__(self, patches: Any) -> Any:
        """As the embedding's own `forward`, in the type of its weights."""
        import torch

        weight, bias = self.convolution.weight, self.convolution.bias
        return torch.nn.functional.linear(patches.to(weight.dtype), weight.flatten(1), bias)


def quicken_vision(model: Any) -> None:
    """Let the vision tower within `model`, if there is one, compute in these ways what it computes anyway.

    Attention other than sdpa, and embeddings that are no such convolution, stay as they are.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend_by_length)
    for module in model.modules():
        embedding = getattr(module, "patch_embed", None)
        if embedding is None:
            continue
        if getattr(module.config, "_attn_implementation", "") == "sdpa":
            module.config._attn_implementation = NAME  # noqa: SLF001
        convolution = getattr(embedding, "proj", None)
        if getattr(convolution, "kernel_size", ()) == getattr(convolution, "stride", None):
            embedding.forward = PatchProduct(convolution)
