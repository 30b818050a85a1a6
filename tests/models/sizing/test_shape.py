"""A model's sizes from its config.json, and its weights counted without one being made."""

import copy
import json
import subprocess
import sys
from typing import Any

import pytest

from models.rehearsal.architecture import parameters, read_config, reduced
from models.rehearsal.known import KNOWN
from models.rehearsal.processor import EMBEDDED
from models.sizing.shape import shape_of
from tasks.pipeline.graph import REPOSITORY


def tiny() -> dict[str, Any]:
    """The embedded base, whose output embeddings are its input's."""
    return dict(json.loads((EMBEDDED / "config.json").read_text()))


@pytest.mark.parametrize(
    ("base", "weights"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", 8_292_166_656),
        ("Qwen/Qwen3-VL-8B-Instruct", 8_767_123_696),
        ("Qwen/Qwen3.5-9B", 9_409_813_744),
    ],
)
def test_weights_are_those_of_the_model_that_transformers_makes(base: str, weights: int) -> None:
    shape = shape_of(KNOWN[base])
    assert shape is not None
    assert shape.weights == weights == parameters(read_config(KNOWN[base], base))


def test_tied_embeddings_are_counted_once() -> None:
    tied = tiny()
    untied = {
        **tied,
        "tie_word_embeddings": False,
        "text_config": {**tied["text_config"], "tie_word_embeddings": False},
    }
    for described in (tied, untied):
        shape = shape_of(described)
        assert shape is not None
        assert shape.weights == parameters(read_config(described, "tiny"))
    assert shape_of(untied).weights - shape_of(tied).weights == 855 * 128  # type: ignore[union-attr]


@pytest.mark.parametrize("base", KNOWN)
@pytest.mark.parametrize("changed", [{"tie_word_embeddings": True}, {"num_hidden_layers": 4}, {"attention_bias": True}])
def test_other_models_of_a_family_are_counted_too(base: str, changed: dict[str, Any]) -> None:
    described = reduced(read_config(KNOWN[base], base), 1000).to_dict()
    text = described["text_config"]
    if "tie_word_embeddings" in changed:
        described |= changed
    text |= {name: value for name, value in changed.items() if name in text}
    if text.get("layer_types"):
        kinds = text["layer_types"]
        text["layer_types"] = [kinds[at % len(kinds)] for at in range(text["num_hidden_layers"])]
    shape = shape_of(described)
    assert shape is not None
    assert shape.weights == parameters(read_config(described, base))


@pytest.mark.parametrize("base", [*KNOWN, "tiny"])
def test_adapters_are_those_that_lora_makes(base: str) -> None:
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForImageTextToText

    from configs.schema import Lora
    from models.backbone import lora_config

    described = reduced(read_config(KNOWN[base], base), 1000).to_dict() if base in KNOWN else tiny()
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(read_config(described, base))
        adapted = get_peft_model(model, lora_config(model, Lora(rank=16, alpha=32, dropout=0.0)))
    made = sum(one.numel() for name, one in adapted.named_parameters() if "lora_" in name)
    shape = shape_of(described)
    assert shape is not None
    assert shape.adapters(16) == made


def test_what_a_config_leaves_out_is_transformers_default() -> None:
    """As the published files of Qwen2.5-VL do, whose text fields lie at the top."""
    whole = KNOWN["Qwen/Qwen2.5-VL-7B-Instruct"]
    vision = {name: value for name, value in whole["vision_config"].items() if name not in ("in_channels", "num_heads")}
    flat = {"model_type": "qwen2_5_vl", "tie_word_embeddings": False, **whole["text_config"], "vision_config": vision}
    assert shape_of(flat) == shape_of(whole)


def test_the_known_bases_are_read_without_torch_or_transformers() -> None:
    told = (
        "import sys; from models.rehearsal.known import KNOWN; from models.sizing.shape import shape_of; "
        "[shape_of(one).weights for one in KNOWN.values()]; "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", told], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_an_unknown_family_has_no_shape() -> None:
    assert shape_of({"model_type": "gemma3"}) is None
    assert shape_of({}) is None


def test_a_known_base_keeps_the_fields_that_it_states() -> None:
    for base, described in KNOWN.items():
        read = read_config(copy.deepcopy(described), base).to_dict()
        for section in ("text_config", "vision_config"):
            assert {name: read[section][name] for name in described[section]} == described[section]
