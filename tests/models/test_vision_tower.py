"""What a quickened vision tower computes is what transformers computes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.backbone import load_model
from models.shapes import base_model
from models.vision_tower import NAME, attend_by_length, quicken_vision

BASE = Path(base_model.__file__).parent / "base"


def _plain() -> Any:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(BASE).eval()


def _tower_output(model: Any, grids: torch.Tensor, patches: torch.Tensor) -> Any:
    return model.model.visual(patches, grid_thw=grids).pooler_output


@pytest.mark.parametrize(
    "grids",
    [[[1, 4, 4]] * 3, [[1, 4, 4], [1, 4, 8], [1, 8, 4], [1, 4, 4], [2, 4, 4]], [[1, 4, 4]]],
    ids=["of one size", "of several sizes, and a video", "a single one"],
)
def test_a_quickened_tower_sees_what_a_plain_one_sees_and_learns_what_it_learns(grids: list[list[int]]) -> None:
    grid = torch.tensor(grids)
    plain, quick = _plain(), _plain()
    quicken_vision(quick)
    width = plain.model.visual.patch_embed.proj.weight[0].numel()
    patches = torch.randn(int(grid.prod(dim=1).sum()), width, generator=torch.Generator().manual_seed(0))
    expected, found = _tower_output(plain, grid, patches), _tower_output(quick, grid, patches)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    expected.square().mean().backward()
    found.square().mean().backward()
    for (name, one), other in zip(plain.model.visual.named_parameters(), quick.model.visual.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_attention_stays_within_an_image() -> None:
    query, key, value = torch.randn(3, 1, 2, 7, 4, generator=torch.Generator().manual_seed(1))
    changed = value.clone()
    changed[:, :, 3:] += 1.0
    borders = torch.tensor([0, 3, 7])
    before, _ = attend_by_length(None, query, key, value, cu_seq_lens_q=borders)
    after, _ = attend_by_length(None, query, key, changed, cu_seq_lens_q=borders)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    torch.testing.assert_close(after[:, 3:], before[:, 3:] + 1.0)


def test_loaded_models_are_quickened_and_what_they_are_saved_as_does_not_say_so(tmp_path: Path) -> None:
    model = load_model(BASE)
    assert model.model.visual.config._attn_implementation == NAME
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "qwen3_vl"


def test_another_attention_stays() -> None:
    model = load_model(BASE, attention="eager")
    assert model.model.visual.config._attn_implementation == "eager"
