"""What a base's `config.json` says, without a download: from the hub's local cache, or as it is known here."""

import json
from pathlib import Path
from typing import Any

# The bases of the shipped profiles, by what their published config.json says other than transformers' own defaults for
# the family (5.23).
KNOWN: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "model_type": "qwen2_5_vl",
        "text_config": {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        "vision_config": {"hidden_size": 1280, "out_hidden_size": 3584},
    },
    "Qwen/Qwen3-VL-8B-Instruct": {
        "model_type": "qwen3_vl",
        "text_config": {"intermediate_size": 12288, "num_hidden_layers": 36, "num_key_value_heads": 8},
        "vision_config": {"out_hidden_size": 4096},
    },
    "Qwen/Qwen3.5-9B": {"model_type": "qwen3_5", "text_config": {}, "vision_config": {"out_hidden_size": 4096}},
}


def hub_config(name: str, revision: str | None) -> dict[str, Any] | None:
    """The configuration of a hub id as a dictionary, or None if nothing here tells it."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(cached, str):
        return dict(json.loads(Path(cached).read_text()))
    return KNOWN.get(name)
