"""Prompts that are computed once: the figures and the gradients of TRL's own forward."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.training.prefix.scoring import SharedPrefix, share_prefixes
from tests.models.training.prefix.tiny import batch, scored, tiny

FAMILIES = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
GROUPS: list[dict[str, Any]] = [
    {"text": 5, "images": [(4, 4), (8, 4)], "completions": [6, 3, 9, 1]},
    {"text": 9, "images": [(4, 8)], "completions": [4, 7]},
    {"text": 3, "images": [], "completions": [5, 2, 8]},
    {"text": 9, "images": [(4, 8)], "completions": [0, 4]},  # one is masked, as those that were truncated are
    {"text": 4, "images": [(4, 4)] * 4, "completions": [0, 0]},  # frames of a video; a group without a label
]
MIXED = [3, 0, 8, 11, 1, 6, 10, 2, 4, 12, 5, 7, 9]


def weighed(logps: torch.Tensor, entropies: torch.Tensor) -> torch.Tensor:
    """A loss in which no two tokens have one weight."""
    weights = torch.linspace(-1, 1, logps.numel()).view_as(logps)
    return (weights * logps).sum() + 0.3 * (weights.cos() * entropies).sum()


def gradients(model: Any, called: Any, given: dict[str, Any], **more: Any) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    model.zero_grad()
    logps, entropies = scored(called, given, **more)
    weighed(logps, entropies).backward()
    return logps, entropies, {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_figures_and_gradients_are_those_of_stock_trl(family: str) -> None:
    model, given = tiny(family), batch(GROUPS, MIXED)
    logps, entropies, stock = gradients(model, model, given)
    assert share_prefixes(model)
    again = gradients(model, model, given)
    seen: list[int] = []
    model.model.language_model.layers[0].register_forward_hook(lambda m, i, o: seen.append(o.shape[:2].numel()))
    ours = gradients(model, SharedPrefix(model, model), given)
    assert torch.equal(again[0], logps), "another caller of the model is given something else"
    torch.testing.assert_close(ours[0], logps, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours[1], entropies, rtol=1e-5, atol=1e-5)
    assert ours[2].keys() == stock.keys()
    assert any("visual" in name for name in stock)
    for name, gradient in stock.items():
        largest = float(gradient.abs().max())
        assert largest > 1e-3, name
        torch.testing.assert_close(ours[2][name], gradient, rtol=1e-5, atol=1e-5 * max(1.0, largest), msg=name)
    assert seen[0] < given["input_ids"].numel() / 3, "prompts are computed more than once"


def alike(model: Any, given: dict[str, Any]) -> None:
    """Ours next to the plain forward of the same model."""
    logps, _, stock = gradients(model, model, given)
    assert share_prefixes(model)
    ours = gradients(model, SharedPrefix(model, model), given)
    torch.testing.assert_close(ours[0], logps, rtol=1e-5, atol=1e-5)
    assert ours[2].keys() == stock.keys()
    for name, gradient in stock.items():
        torch.testing.assert_close(
            ours[2][name], gradient, rtol=1e-5, atol=1e-5 * max(1.0, float(gradient.abs().max())), msg=name
        )
    assert any(float(one.abs().max()) > 1e-3 for one in stock.values()), "there is no gradient to compare"


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_without_images_are_shared_too(family: str) -> None:
    alike(tiny(family), batch([{**group, "images": []} for group in GROUPS], MIXED))


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_activations_are_recomputed_as_they_were(family: str, reentrant: bool) -> None:
    model = tiny(family)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    calls: list[int] = []
    attention = model.model.language_model.layers[1].self_attn
    attention.q_proj.register_forward_pre_hook(lambda m, i: calls.append(1))
    alike(model, batch(GROUPS, MIXED))
    assert len(calls) == 4, "nothing was recomputed"


def test_adapters_get_the_same_gradients() -> None:
    from peft import LoraConfig, get_peft_model

    from models.backbone import lora_targets

    model = tiny("qwen3_vl")
    adapted = get_peft_model(model, LoraConfig(r=2, lora_dropout=0.0, target_modules=lora_targets(model)))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    alike(adapted, batch(GROUPS, MIXED))


def test_a_batch_without_a_label_has_a_gradient_of_nothing() -> None:
    model = tiny("qwen3_vl")
    assert share_prefixes(model)
    given = batch([{**group, "completions": [0, 0]} for group in GROUPS])
    logps, entropies, found = gradients(model, SharedPrefix(model, model), given)
    assert logps.shape == (10, given["logits_to_keep"])
    assert not logps.any()
    assert not entropies.any()
    assert found
    assert not any(float(one.abs().max()) for one in found.values())


def test_figures_without_gradients_in_smaller_batches_are_the_same() -> None:
    model, given = tiny("qwen2_5_vl"), batch(GROUPS)
    with torch.no_grad():
        whole, _ = scored(model, given)
        assert share_prefixes(model)
        parts, _ = scored(SharedPrefix(model, model), given, batch_size=4)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)


def test_what_is_saved_and_generated_does_not_know_of_it(tmp_path: Path) -> None:
    model = tiny("qwen3_vl").eval()
    given = batch([GROUPS[0]])
    prompt = {name: given[name] for name in ("pixel_values", "image_grid_thw")}
    width = given["input_ids"].shape[1] - given["logits_to_keep"]
    prompt |= {name: given[name][:, :width] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
    before = model.generate(**prompt, max_new_tokens=6, do_sample=False)
    model.save_pretrained(tmp_path / "before")
    assert share_prefixes(model)
    assert torch.equal(model.generate(**prompt, max_new_tokens=6, do_sample=False), before)
    model.save_pretrained(tmp_path / "after")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "after" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()


def test_models_that_cannot_share_are_left_as_they_are_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3_5TextConfig

    small = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    linear = Qwen3_5TextConfig(
        **small, vocab_size=32, head_dim=16, layer_types=["linear_attention", "full_attention"], num_hidden_layers=2,
        linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
    )  # fmt: skip
    llama = LlamaConfig(**small, vocab_size=32, num_hidden_layers=1)
    eager = tiny("qwen3_vl")
    eager.set_attn_implementation("eager")
    for model, reason in (
        (AutoModelForCausalLM.from_config(linear), "layers of linear_attention"),
        (AutoModelForCausalLM.from_config(llama), "how llama counts positions"),
        (eager, "model.attention is eager"),
    ):
        before = model.config.get_text_config()._attn_implementation
        caplog.clear()
        assert not share_prefixes(model)
        assert [reason in one.message for one in caplog.records] == [True]
        assert model.config.get_text_config()._attn_implementation == before
