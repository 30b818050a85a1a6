"""A base's `config.json`, without a download: from the hub's local cache, or as it is known here."""

import json
from pathlib import Path
from typing import Any

_VISION_OF_QWEN3: dict[str, Any] = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "in_channels": 3,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "num_position_embeddings": 2304,
    "out_hidden_size": 4096,
}

# The bases of the shipped profiles: the shape in their config.json. What is omitted is transformers'
# default for the family and has no part in sizes.
#
# Checked field by field against public copies of the files, since the hub itself was out of reach:
# - Qwen2.5-VL-7B-Instruct: its config.json as converters of diffusion models carry it, whose text encoder it is, and
#   the module tree in docs/qwen2.5vl_graph.md of github.com/acproject/duorou. The vision feed-forward layer has 3420,
#   where arXiv 2502.13923, table 1, has 3456.
# - Qwen3-VL-8B-Instruct: an excerpt of its config.json with layers, heads, hidden size and vision tower. The width of
#   its feed-forward layers is not in it: 12288 makes 8,767,123,696 weights, which agrees with the 8.77 B that the model
#   is listed with; transformers' default of 22016 would make 13.07 B.
# - Qwen3.5-9B: its config.json as a checkpoint loader's test holds it; also the sizes at apxml.com/models/qwen35-9b.
KNOWN: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "model_type": "qwen2_5_vl",
        "tie_word_embeddings": False,
        "text_config": {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "in_channels": 3,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "out_hidden_size": 3584,
        },
    },
    "Qwen/Qwen3-VL-8B-Instruct": {
        "model_type": "qwen3_vl",
        "tie_word_embeddings": False,
        "text_config": {
            "vocab_size": 151936,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "attention_bias": False,
        },
        "vision_config": {**_VISION_OF_QWEN3, "deepstack_visual_indexes": [8, 16, 24]},
    },
    "Qwen/Qwen3.5-9B": {
        "model_type": "qwen3_5",
        "tie_word_embeddings": False,
        "text_config": {
            "vocab_size": 248320,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "attention_bias": False,
            "layer_types": [*["linear_attention"] * 3, "full_attention"] * 8,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_conv_kernel_dim": 4,
        },
        "vision_config": _VISION_OF_QWEN3,
    },
}


def hub_config(name: str, revision: str | None) -> dict[str, Any] | None:
    """The configuration of a hub id as a dictionary, or None if it is not known here."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(cached, str):
        return dict(json.loads(Path(cached).read_text()))
    return KNOWN.get(name)
