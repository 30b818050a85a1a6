"""A frozen tower's features, kept: the same logits and gradients as without, and only where the tower is constant."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from models.backbone import load_processor
from models.media.vision_cache import VisionCache, cached_vision, core_of, medium_digests
from tests.models.test_backbone import qwen2_5_vl, qwen3_5, qwen3_vl

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"
FAMILIES = [qwen2_5_vl, qwen3_vl, qwen3_5]


def shown(model: Any, sides: list[int]) -> dict[str, Any]:
    """One row that shows noise of these sides, in patches."""
    torch.manual_seed(1)
    vision, merged = model.config.vision_config, 2
    values = 3 * vision.temporal_patch_size * vision.patch_size**2
    grids = torch.tensor([[1, side, side] for side in sides])
    holders = [[*[model.config.image_token_id] * (side * side // merged**2), 3] for side in sides]
    ids = torch.tensor([[1, 2, *(one for holder in holders for one in holder), 4, 5]])
    kinds = (ids == model.config.image_token_id).int()
    return {
        "input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": kinds, "labels": ids.clone(),
        "pixel_values": torch.randn(int(grids.prod(-1).sum()), values), "image_grid_thw": grids,
    }  # fmt: skip


def small(family: Any) -> Any:
    torch.manual_seed(0)
    model = family()
    model.config.image_token_id = model.model.config.image_token_id = 60
    for name, one in model.named_parameters():
        one.requires_grad_("visual" not in name)
    return model.train()


def learnt(model: Any, inputs: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return loss.item(), {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_equal_those_without_the_cache(family: Any) -> None:
    model, cache = small(family), VisionCache()
    inputs = shown(model, [4, 8, 4])
    expected, gradients = learnt(model, inputs)
    with cached_vision(model, cache):
        for kept in (0, 3):
            loss, found = learnt(model, inputs)
            assert cache.hits == kept
            assert loss == pytest.approx(expected, abs=1e-6)
            assert found.keys() == gradients.keys()
            for name, gradient in gradients.items():
                assert torch.allclose(found[name], gradient, rtol=0, atol=1e-6), name
    assert "get_image_features" not in core_of(model).__dict__, "the model is not as it was"


def test_features_do_not_depend_on_what_shares_a_batch() -> None:
    model = small(qwen3_vl)
    inputs = shown(model, [4, 4, 8, 4, 4])
    pixels, grids = inputs["pixel_values"], inputs["image_grid_thw"]
    with cached_vision(model, VisionCache()):
        together = core_of(model).get_image_features(pixels, grids)
    for at, (part, grid) in enumerate(zip(pixels.split(grids.prod(-1).tolist()), grids.split(1), strict=True)):
        with cached_vision(model, VisionCache()):
            alone = core_of(model).get_image_features(part, grid)
        assert alone.pooler_output[0].equal(together.pooler_output[at])
        for one, other in zip(alone.deepstack_features, together.deepstack_features, strict=True):
            assert one[0].equal(other[at])


def test_a_tower_that_is_trained_is_computed_each_time() -> None:
    model, cache = small(qwen3_vl), VisionCache()
    model.model.visual.merger.linear_fc2.weight.requires_grad_(True)
    with cached_vision(model, cache):
        _, gradients = learnt(model, shown(model, [4]))
    assert (cache.hits, cache.misses) == (0, 0)
    assert gradients["model.visual.merger.linear_fc2.weight"].abs().sum() > 0


def test_weights_that_were_written_to_are_another_tower() -> None:
    model, cache = small(qwen3_vl), VisionCache()
    inputs = shown(model, [4])
    with cached_vision(model, cache):
        before, _ = learnt(model, inputs)
        with torch.no_grad():
            model.model.visual.patch_embed.proj.weight.mul_(3)
        after, _ = learnt(model, inputs)
        assert cache.hits == 0
    assert after == pytest.approx(learnt(model, inputs)[0], abs=1e-6)
    assert after != before


def test_two_loads_of_one_tower_share_and_others_do_not() -> None:
    cache = VisionCache()
    for hits, model in ((0, small(qwen3_vl)), (1, small(qwen3_vl))):
        with cached_vision(model, cache):
            learnt(model, shown(model, [4]))
        assert cache.hits == hits
    other = small(qwen3_vl)
    torch.nn.init.normal_(other.model.visual.pos_embed.weight)
    with cached_vision(other, cache):
        learnt(other, shown(other, [4]))
    assert cache.hits == 1


def test_what_sampling_kept_is_of_use_in_training() -> None:
    model, cache = small(qwen3_vl), VisionCache()
    inputs = shown(model, [4, 8])
    with cached_vision(model, cache):
        with torch.inference_mode():
            model(**inputs)
        _, found = learnt(model, inputs)
    assert (cache.hits, cache.misses) == (2, 2)
    assert found


def test_the_budget_holds_and_what_went_is_computed_again() -> None:
    model, whole = small(qwen3_vl), VisionCache()
    many = [shown(model, [4]) | {"pixel_values": torch.randn(16, 1536) + at} for at in range(6)]
    expected = []
    with cached_vision(model, whole):
        expected = [learnt(model, one)[0] for one in many]
    little = VisionCache(budget=whole.bytes // 2)
    with cached_vision(model, little):
        for _ in range(3):
            assert [learnt(model, one)[0] for one in many] == expected
            assert 0 < little.bytes <= little.budget
    assert little.hits > 0, "what is needed again soonest is what goes: nothing is ever found"
    nothing = VisionCache(budget=0)
    with cached_vision(model, nothing):
        assert learnt(model, many[0])[0] == expected[0]
    assert nothing.bytes == 0


def test_media_are_told_apart_by_every_pixel_and_by_their_shape() -> None:
    pixels = torch.zeros(32, 12)
    first = medium_digests(pixels, torch.tensor([[1, 4, 4], [1, 4, 4]]))
    assert first[0] == first[1]
    assert medium_digests(pixels[:16], torch.tensor([[1, 2, 8]]))[0] != first[0]
    pixels[16, 3] = 1e-7
    assert medium_digests(pixels, torch.tensor([[1, 4, 4], [1, 4, 4]]))[1] != first[1]


def test_generation_with_the_cache_writes_the_same() -> None:
    from models.backbone import load_model

    model, processor = load_model(BASE), load_processor(BASE)
    for one in model.parameters():
        one.requires_grad_(False)
    image = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
    text = f"<|vision_start|>{processor.image_token}<|vision_end|>"
    inputs = processor(text=[text], images=[image], return_tensors="pt")
    how = {"max_new_tokens": 8, "do_sample": False, "num_return_sequences": 1}
    plain = model.generate(**inputs, **how)
    with cached_vision(model, VisionCache()) as cache:
        for _ in range(2):
            assert model.generate(**inputs, **how).equal(plain)
        assert (cache.hits, cache.misses) == (1, 1)
