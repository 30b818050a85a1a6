"""Tiny models with random weights of each family that shares prefixes, and batches as TRL hands them to a model."""

from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig, Qwen2VLConfig, Qwen3VLConfig
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

IMAGE, VIDEO, START, END, PAD = 90, 91, 92, 93, 0
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 96,
    "num_key_value_heads": 2, "pad_token_id": PAD,
}  # fmt: skip
NUMBERS = {
    "image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": START, "vision_end_token_id": END,
    "pad_token_id": PAD,
}  # fmt: skip
SIDES = {"patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2, "in_channels": 3}


def config_of(family: str) -> Any:
    """Grouped keys and values, three axes of positions, and for Qwen3-VL features that enter at deeper layers."""
    if family == "qwen3_vl":
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
        vision = {
            "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32,
            "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1],
        }  # fmt: skip
        text = TEXT | {"head_dim": 8, "rope_parameters": rope}
        return Qwen3VLConfig(text_config=text, vision_config=vision | SIDES, **NUMBERS)
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    text = TEXT | {"rope_parameters": rope}
    if family == "qwen2_5_vl":
        vision = {
            "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32,
            "window_size": 16, "fullatt_block_indexes": [1], "tokens_per_second": 2,
        }  # fmt: skip
        return Qwen2_5_VLConfig(text_config=text, vision_config=vision | SIDES, **NUMBERS)
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    return Qwen2VLConfig(text_config=text, vision_config=vision | SIDES, **NUMBERS)


def tiny(family: str, temperature: float = 0.8) -> Any:
    """A model with TRL's head, in training."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config_of(family), attn_implementation="sdpa")
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
        elif "bias" in name:
            torch.nn.init.normal_(weight, std=0.1)
    add_fused_lm_head(model, temperature=temperature, outputs=("log_probs", "entropy"))
    return model.train()


def batch(groups: list[dict[str, Any]], order: list[int] | None = None) -> dict[str, Any]:
    """The arguments of TRL's method for groups of `text` tokens, `images` as (height, width) and `completions` lengths.

    A completion of length 0 is masked: its tokens stand there, as those of one that was truncated do.
    """
    made = torch.Generator().manual_seed(7)
    rows: list[tuple[list[int], list[torch.Tensor], list[list[int]], list[int], int]] = []
    for group in groups:
        pixels = [torch.randn(h * w, 3 * 2 * 4 * 4, generator=made) for h, w in group["images"]]
        grids = [[1, h, w] for h, w in group["images"]]
        prompt = torch.randint(1, 80, (2,), generator=made).tolist()
        for h, w in group["images"]:
            prompt += [START, *[IMAGE] * (h * w // 4), END]
        prompt += torch.randint(1, 80, (group["text"],), generator=made).tolist()
        for length in group["completions"]:
            tokens = torch.randint(1, 80, (max(length, 3),), generator=made).tolist()
            rows.append((prompt, pixels, grids, tokens, length))
    rows = [rows[at] for at in order or range(len(rows))]
    left, right = max(len(one[0]) for one in rows), max(len(one[3]) for one in rows)
    ids = torch.full((len(rows), left + right), PAD)
    mask = torch.zeros_like(ids)
    for at, (prompt, _, _, tokens, length) in enumerate(rows):
        ids[at, left - len(prompt) : left] = torch.tensor(prompt)
        mask[at, left - len(prompt) : left] = 1
        ids[at, left : left + len(tokens)] = torch.tensor(tokens)
        mask[at, left : left + length] = 1
    given = {"input_ids": ids, "attention_mask": mask, "logits_to_keep": right}
    pixels = [one for row in rows for one in row[1]]
    if not pixels:
        return given
    return given | {
        "pixel_values": torch.cat(pixels),
        "image_grid_thw": torch.tensor([grid for row in rows for grid in row[2]]),
        "num_images": [len(row[1]) for row in rows],
        "mm_token_type_ids": (ids == IMAGE).long(),
    }


def scored(model: Any, given: dict[str, Any], **more: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies by TRL's own method."""
    trainer = SimpleNamespace(accelerator=Accelerator(cpu=True), args=SimpleNamespace(report_to=[]))
    found = GRPOTrainer._get_per_token_logps_and_entropies(trainer, model, compute_entropy=True, **given, **more)
    return found[0], found[1]
