"""A model of an architecture's exact shape with random weights, or a reduced copy that a CPU can rehearse.

Nothing is downloaded: the shape is in `config.json` alone. Weights drawn at random take the memory and the time of
trained ones.
"""

from pathlib import Path
from typing import Any

from models.errors import ConfigError

NARROWER = 16  # a reduced copy's hidden size, vocabulary and intermediate size are divided by this
LAYERS = 2  # of the reduced copy, or one of each kind where there are more kinds
SECTIONS = {"qwen2_5_vl": (16, 24, 24), "qwen3_vl": (24, 20, 20), "qwen3_5": (11, 11, 10)}  # defaults in transformers
TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}


def read_config(described: dict[str, Any], base: str) -> Any:
    """The transformers configuration that a `config.json` describes; `base` is its name in errors.

    Raises `ConfigError` for an unknown architecture or one that takes no images.
    """
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    kind = described.get("model_type", "")
    try:
        config: Any = type(AutoConfig.for_model(kind)).from_dict(described)
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"model.base is {base}, whose config.json has model_type {kind!r}, which this transformers does not know: "
            "choose a base it knows, such as a Qwen2.5-VL, Qwen3-VL or Qwen3.5"
        ) from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or getattr(config, "vision_config", None) is None:
        raise ConfigError(
            f"model.base is {base}, a {kind} model, which takes text alone: choose a vision-language base, such as a "
            "Qwen2.5-VL, Qwen3-VL or Qwen3.5"
        )
    return config


def parameters(config: Any) -> int:
    """How many weights a model of this configuration has; none is allocated."""
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return sum(one.numel() for one in AutoModelForImageTextToText.from_config(config).parameters())


def reduced(config: Any, vocabulary: int) -> Any:
    """A narrow, shallow copy of the same family: every kind of layer and the grouping of heads stay.

    `vocabulary` is the number of tokens that the processor knows at least. Raises `ConfigError` for other families.
    """
    kind = config.model_type
    if kind not in SECTIONS:
        raise ConfigError(
            f"a {kind} model has no reduced copy for a CPU, only {', '.join(sorted(SECTIONS))}: rehearse it on a GPU"
        )
    described = config.to_dict()
    text = _reduced_text(described["text_config"], SECTIONS[kind], vocabulary)
    vision = _reduced_vision(described["vision_config"], text["hidden_size"])
    return type(config).from_dict({**described, "text_config": text, "vision_config": vision})


def _reduced_text(text: dict[str, Any], sections: tuple[int, ...], vocabulary: int) -> dict[str, Any]:
    groups = text["num_attention_heads"] // text["num_key_value_heads"]
    kv_heads = 1 if groups > 1 else 2
    heads = groups * kv_heads
    hidden = _multiple(text["hidden_size"] // NARROWER, 8 * heads)
    head = hidden // heads
    kinds = list(dict.fromkeys(text.get("layer_types") or ["full_attention"]))
    kinds += kinds[-1:] * (LAYERS - len(kinds))
    rope = dict(text["rope_parameters"])
    rotated = int(head * rope.get("partial_rotary_factor", 1.0)) // 2
    rope["mrope_section"] = _shares(rope.get("mrope_section") or sections, rotated)
    changed = {
        "hidden_size": hidden,
        "intermediate_size": _multiple(text["intermediate_size"] // NARROWER, 16),
        "num_hidden_layers": len(kinds),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": max(text["vocab_size"] // NARROWER, vocabulary),
        "rope_parameters": rope,
    }
    changed |= {"head_dim": head} if "head_dim" in text else {}
    changed |= {"layer_types": kinds} if "layer_types" in text else {}
    if "linear_num_key_heads" in text:  # Qwen3.5's linear attention
        values = text["linear_num_value_heads"] // text["linear_num_key_heads"]
        changed |= {"linear_num_key_heads": 2, "linear_num_value_heads": 2 * values}
        changed |= {name: text[name] // 4 for name in ("linear_key_head_dim", "linear_value_head_dim")}
    return {**text, **changed}


def _reduced_vision(vision: dict[str, Any], out: int) -> dict[str, Any]:
    changed: dict[str, Any] = {
        "depth": LAYERS,
        "hidden_size": _multiple(vision["hidden_size"] // NARROWER, 16),
        "intermediate_size": _multiple(vision["intermediate_size"] // NARROWER, 16),
        "num_heads": 2,
        "out_hidden_size": out,
    }
    changed |= {"deepstack_visual_indexes": [0]} if vision.get("deepstack_visual_indexes") else {}
    changed |= {"fullatt_block_indexes": [LAYERS - 1]} if "fullatt_block_indexes" in vision else {}
    return {**vision, **changed}


def _multiple(size: int, of: int) -> int:
    """`size` rounded up to a multiple.

    >>> _multiple(72, 16), _multiple(224, 56), _multiple(0, 16)
    (80, 224, 16)
    """
    return max(1, -(-size // of)) * of


def _shares(sections: tuple[int, ...] | list[int], total: int) -> list[int]:
    """`sections` in proportion, with the sum `total`; what rounding leaves goes to the first.

    >>> _shares((24, 20, 20), 32), _shares((11, 11, 10), 8)
    ([12, 10, 10], [3, 3, 2])
    """
    shares = [total * one // sum(sections) for one in sections]
    for at in range(total - sum(shares)):
        shares[at % len(shares)] += 1
    return shares


def fit_tokens(config: Any, tokenizer: Any) -> Any:
    """The configuration with the token ids of `tokenizer`, whose tokens have to fit its vocabulary.

    Raises `ConfigError` for a tokenizer without the tokens for images.
    """
    known = tokenizer.get_vocab()
    missing = [token for token in TOKENS.values() if token not in known]
    if missing:
        raise ConfigError(f"the processor's tokenizer lacks {', '.join(missing)}: take that of the base model")
    for name, token in TOKENS.items():
        if hasattr(config, name):
            setattr(config, name, known[token])
    config.text_config.vocab_size = max(config.text_config.vocab_size, len(tokenizer))
    for one in (config, config.text_config):
        one.eos_token_id, one.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        one.bos_token_id = None
    return config


def write_random_model(config: Any, processor: Any, out: Path, *, dtype: str, device: str, seed: int) -> None:
    """A model directory with random weights of `dtype`, drawn on `device`, where a large model is drawn faster."""
    import torch
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(out)
    processor.save_pretrained(out)
