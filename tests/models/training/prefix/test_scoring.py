"""Prompts that are computed once: the figures and the gradients of TRL's own forward."""

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
