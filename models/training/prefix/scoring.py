"""Log-probabilities of completions, each prompt with its media computed once: in the place of the model for TRL.

TRL's `_get_per_token_logps_and_entropies` calls a model with a batch of whole sequences, in which a prompt stands as
often as it has completions. `SharedPrefix` takes that call, finds the prompts that are the same, has the model compute
one packed sequence (`packing.py`), and gives each figure the place that TRL expects. Gradients are the same, because a
prefix does not see what follows it, and those of its completions add up in it.
"""

import logging
from typing import Any

import torch

from models.adapters import without_adapters
from models.training.prefix.attention import ARGUMENT, NAME
from models.training.prefix.grouping import prompt_groups
from models.training.prefix.packing import IGNORED, Packed, packed

log = logging.getLogger(__name__)
SUPPORTED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")  # whose positions and media `SharedPrefix` knows
MEDIA = ("pixel_values", "image_grid_thw", "mm_token_type_ids")


def unsupported(model: Any) -> str:
    """Why prefixes cannot be shared in this model; empty if they can."""
    kind, text = model.config.model_type, model.config.get_text_config()
    layers = set(getattr(text, "layer_types", None) or ["full_attention"])
    if layers != {"full_attention"}:
        return (
            f"it has layers of {', '.join(sorted(layers - {'full_attention'}))}, whose state at a prompt's end is lost"
        )
    if kind not in SUPPORTED:
        return f"how {kind} counts positions is not known here, only that of {', '.join(SUPPORTED)}"
    if text._attn_implementation not in ("sdpa", NAME):  # noqa: SLF001
        return f"model.attention is {text._attn_implementation}, and sdpa is needed"  # noqa: SLF001
    return ""


def share_prefixes(model: Any) -> bool:
    """Have a model attend as a packed sequence needs; where it cannot, say so and leave it as it is."""
    bare = without_adapters(model)
    if reason := unsupported(bare):
        log.warning("each completion computes its own prompt (runtime.shared_prefix is without effect): %s", reason)
        return False
    bare.config.get_text_config()._attn_implementation = NAME  # noqa: SLF001
    return True


class SharedPrefix:
    """A model as TRL calls it for log-probabilities; `bare` is it without what wraps it."""

    def __init__(self, model: Any, bare: Any) -> None:
        self._model = model
        self._bare = without_adapters(bare)

    def __call__(self, **given: Any) -> Any:
        """Outputs with `log_probs` and `entropy` (rows, columns - 1) of a batch, zero where there is no label."""
        known = {"input_ids", "attention_mask", "labels", "fused_lm_head", *MEDIA}
        media = {name: given[name] for name in MEDIA if given.get(name) is not None}
        if given.keys() - known or ("pixel_values" in media) != ("mm_token_type_ids" in media):
            return self._model(**given)
        ids, labels = given["input_ids"], given["labels"]
        row, chosen = self._packed(ids, given["attention_mask"], labels, media)
        scored = len(row.ids) - len(row.labels)

        def last(module: Any, args: Any, output: Any) -> Any:
            # What TRL's head projects where it has no Triton: all that it is given.
            output.last_hidden_state = output.last_hidden_state[:, scored:]
            return output

        hook = self._bare.base_model.register_forward_hook(last)
        try:
            outputs = self._model(
                input_ids=row.ids[None],
                position_ids=row.positions[:, None],
                shift_labels=row.labels[None],
                fused_lm_head=True,
                **chosen,
                **{ARGUMENT: row.layout},
            )
        finally:
            hook.remove()
        for name in ("log_probs", "entropy"):
            if (figures := getattr(outputs, name)) is not None:
                whole = figures.new_zeros(len(ids), ids.shape[1] - 1)
                setattr(outputs, name, whole.index_put((row.rows, row.columns - 1), figures[0]))
        return outputs

    def _packed(
        self, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, media: dict[str, Any]
    ) -> tuple[Packed, dict[str, Any]]:
        """The batch as one sequence, and its media once for each prompt."""
        start = _completions_start(labels)
        prompts = [torch.nonzero(one[:start]).flatten() for one in mask]
        shown = media_by_row(self._bare.config, ids, media)
        pairs = list(zip(ids, prompts, strict=True))
        groups = prompt_groups([tuple(row[at].tolist()) for row, at in pairs], [pixels for pixels, _ in shown])
        types = media.get("mm_token_type_ids", torch.zeros_like(ids))
        positions = [self._positions(*pairs[one], types[one], shown[one][1]) for one, *_ in groups]
        row = packed(ids, labels, prompts, groups, positions)
        taken = zip(("pixel_values", "image_grid_thw"), zip(*(shown[at] for at in row.first), strict=True), strict=True)
        return row, {
            name: torch.cat(found) for name, some in taken if (found := [one for one in some if one is not None])
        }

    def _positions(
        self, ids: torch.Tensor, columns: torch.Tensor, types: torch.Tensor, grids: torch.Tensor | None
    ) -> torch.Tensor:
        """Of a prompt's tokens (axes, tokens), as the model counts them."""
        found, _ = self._bare.base_model.get_rope_index(
            ids[None, columns],
            mm_token_type_ids=types[None, columns],
            image_grid_thw=grids,
            attention_mask=torch.ones_like(ids[None, columns]),
        )
        positions: torch.Tensor = found[:, 0]
        return positions


def media_by_row(
    config: Any, ids: torch.Tensor, media: dict[str, Any]
) -> list[tuple[torch.Tensor | None, torch.Tensor | None]]:
    """The patches and the grids of each row's images, by the number of its image tokens; None where it has none."""
    if "pixel_values" not in media:
        return [(None, None)] * len(ids)
    grids = media["image_grid_thw"]
    patches = grids.prod(-1)
    ends = patches.cumsum(0) // config.vision_config.spatial_merge_size**2
    until = (ids == config.image_token_id).sum(1).cumsum(0)
    images = torch.searchsorted(ends, until, right=True).diff(prepend=until.new_zeros(1)).tolist()
    by_row = grids.split(images)
    pixels = media["pixel_values"].split([int(one.prod(-1).sum()) for one in by_row])
    return [(pixel, grid) if len(grid) else (None, None) for pixel, grid in zip(pixels, by_row, strict=True)]


def _completions_start(labels: torch.Tensor) -> int:
    """The first column with a label, or their number: a completion that is scored is scored from its first token."""
    scored = torch.nonzero((labels != IGNORED).any(0)).flatten()
    return int(scored[0]) if len(scored) else labels.shape[1]
