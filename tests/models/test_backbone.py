"""LoRA finds the linear layers of a model, whatever its family calls them."""

import re
from pathlib import Path
from typing import Any

import pytest

from configs.schema import Lora
from models.backbone import load_for_training, load_processor, lora_config, lora_targets, save
from models.errors import ModelError

BASE = Path(__file__).resolve().parents[2] / "models" / "shapes" / "base"
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
TEXT: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}  # fmt: skip
VISION = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
LINEAR_ATTENTION = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")


def qwen2_5_vl() -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    rope = {**ROPE, "mrope_section": [1, 1, 2]}
    text = {**TEXT, "num_hidden_layers": 2, "rope_parameters": rope}
    vision = {**VISION, "fullatt_block_indexes": [0]}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision))


def qwen3_vl() -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    text = {**TEXT, "num_hidden_layers": 2, "head_dim": 8, "rope_parameters": {**ROPE, "mrope_section": [2, 1, 1]}}
    vision = {**VISION, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision))


def qwen3_5() -> Any:
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    text = {
        **TEXT, "num_hidden_layers": 4, "head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
        "rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1]},
    }  # fmt: skip
    vision = {**VISION, "num_position_embeddings": 16}
    return Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=vision))


ADAPTERS = Lora(rank=2, alpha=4, dropout=0.0)
FAMILIES = {
    qwen2_5_vl: dict.fromkeys((*ATTENTION, *MLP), 2),
    qwen3_vl: dict.fromkeys((*ATTENTION, *MLP), 2),
    qwen3_5: dict.fromkeys(ATTENTION, 1) | dict.fromkeys(MLP, 4) | dict.fromkeys(LINEAR_ATTENTION, 3),
}


@pytest.mark.parametrize(("build", "expected"), FAMILIES.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_lora_reaches_every_linear_layer_of_the_language_model(build: Any, expected: dict[str, int]) -> None:
    found = lora_targets(build())
    kinds = [name.rpartition(".")[2] for name in found]
    assert {kind: kinds.count(kind) for kind in kinds} == expected
    assert not [name for name in found if "visual" in name or "lm_head" in name]


@pytest.mark.parametrize("build", FAMILIES, ids=lambda one: one.__name__)
def test_each_adapter_is_trained_and_merged(build: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the compute type, through a whole step: every adapter moves, and the saved model is an ordinary one."""
    import torch
    from peft import get_peft_model
    from safetensors.torch import load_file

    torch.manual_seed(0)
    build().save_pretrained(tmp_path / "base")
    given = {"dtype": "bfloat16", "attention": "eager", "freeze_vision": True, "lora": ADAPTERS}
    loaded = load_for_training(tmp_path / "base", **given)
    targets = lora_targets(loaded)
    with caplog.at_level("INFO"):
        model = get_peft_model(loaded, lora_config(loaded, ADAPTERS))
    assert f"on {len(targets)} linear layers" in caplog.text
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(trained) == 2 * len(targets)
    before = {name: weight.detach().clone() for name, weight in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-6, weight_decay=0.0)
    for _ in range(2):  # the second halves are zero at first, so that the first halves move in the second step
        tokens = torch.arange(1, 13).reshape(2, 6)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert [name for name, weight in trained.items() if weight.equal(before[name])] == []
    save(model, load_processor(BASE), tmp_path / "out")
    old, new = (load_file(tmp_path / folder / "model.safetensors") for folder in ("base", "out"))
    assert old.keys() == new.keys()
    changed = {name for name in old if not old[name].bfloat16().float().equal(new[name].float())}
    assert len(changed) == len(targets)


def test_a_model_without_linear_layers_is_refused() -> None:
    from torch import nn

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual, self.lm_head = nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 8)

        def get_output_embeddings(self) -> nn.Module:
            return self.lm_head

    with pytest.raises(ModelError, match="Bare has no linear layer"):
        lora_targets(Bare())


def test_the_pattern_of_layers_is_the_same_in_every_process_and_takes_no_other() -> None:
    model = qwen3_5()
    pattern = lora_config(model, ADAPTERS).target_modules
    assert isinstance(pattern, str)
    matched = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
    assert matched == lora_targets(model)
