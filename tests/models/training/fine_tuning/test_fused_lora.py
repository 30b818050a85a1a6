"""A layer and its adapter in one product: outputs and gradients are PEFT's, and what is not plain stays with PEFT."""

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from models.training.fine_tuning.fused_lora import fuse_lora


def adapted(dropout: float = 0.0, *, bias: bool = True, kind: str = "lora") -> Any:
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(12, 20, bias=bias), torch.nn.Tanh(), torch.nn.Linear(20, 8, bias=bias))
    how = {"use_dora": True} if kind == "dora" else {}
    model = get_peft_model(plain, LoraConfig(r=4, lora_alpha=6, lora_dropout=dropout, target_modules=["0", "2"], **how))
    for name, one in model.named_parameters():
        if "lora_B" in name:  # zero at the start, which would hide the gradient of A
            torch.nn.init.normal_(one)
    return model


def learnt(model: Any, dtype: torch.dtype | None = None) -> tuple[Any, dict[str, Any]]:
    x = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        out = model(x)
    out.float().square().sum().backward()
    named = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return out, named | {"x": x.grad}


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_peft(bias: bool) -> None:
    plain = adapted(bias=bias)
    fused = copy.deepcopy(plain)
    assert fuse_lora(fused) == 2
    expected, gradients = learnt(plain)
    found, own = learnt(fused)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    assert own.keys() == gradients.keys()
    assert {name.rpartition(".lora_")[2][0] for name in own if "lora_" in name} == {"A", "B"}
    for name, gradient in gradients.items():
        assert torch.allclose(own[name], gradient, rtol=1e-5, atol=1e-4), name


def test_under_autocast_types_are_those_of_peft() -> None:
    plain = adapted()
    fused = copy.deepcopy(plain)
    fuse_lora(fused)
    expected, gradients = learnt(plain, torch.bfloat16)
    found, own = learnt(fused, torch.bfloat16)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.allclose(found.float(), expected.float(), rtol=0.05, atol=0.1)
    for name, gradient in gradients.items():
        assert own[name].dtype == gradient.dtype, name
        assert torch.allclose(own[name], gradient, rtol=0.1, atol=0.05 * float(gradient.abs().max())), name


def test_layers_that_are_not_plain_stay_with_peft() -> None:
    assert fuse_lora(adapted(dropout=0.1)) == 0
    assert fuse_lora(adapted(kind="dora")) == 0


def test_without_its_adapter_a_layer_is_the_base() -> None:
    model = adapted()
    fuse_lora(model)
    x = torch.randn(2, 12)
    within = model(x)
    with model.disable_adapter():
        alone = model(x)
    assert not torch.allclose(within, alone)
    assert torch.allclose(alone, model.unload()(x))
