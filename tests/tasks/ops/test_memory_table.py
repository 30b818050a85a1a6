"""The table of memory in the docs is the one that the code makes, and what stands beside it follows from it."""

import pytest

from configs.load import load_settings
from models.pairs.preference import Task
from models.sizing.memory import Weights, states
from tasks.ops.base_shape import base_shape
from tasks.ops.fitting import FACTOR, GIB, with_value
from tasks.ops.memory_table import memory_table
from tasks.ops.stage_memory import parts, prompt_tokens
from tasks.pipeline.graph import REPOSITORY

PROFILES = ["qwen2_5_vl_7b", "qwen2_5_vl_7b_full", "qwen3_vl_8b", "qwen3_5_9b"]
GPU = 79.6 * GIB  # as an H100 of 80 GB says


def test_the_docs_have_the_table_that_the_code_makes() -> None:
    assert memory_table() in (REPOSITORY / "docs" / "training.md").read_text()


def test_the_profile_of_full_training_says_what_it_takes() -> None:
    settings = load_settings("qwen2_5_vl_7b_full")
    shape = base_shape(settings)
    assert shape is not None
    said = (REPOSITORY / "configs" / "qwen2_5_vl_7b_full.yaml").read_text()
    frozen = states(shape, Weights("bfloat16", frozen_vision=True, reference=True))
    whole = states(shape, Weights("bfloat16", frozen_vision=False))
    copies = 2 * shape.text.weights
    masters = frozen.certain - frozen.reference - copies
    assert f"{masters / 1e9:.0f} GB with the vision" in said
    assert f"({(whole.certain - 2 * shape.weights) / 1e9:.0f} GB for all weights)" in said
    assert f"take {copies / 1e9:.0f} GB more" in said
    assert f"{frozen.reference / 1e9:.0f} GB, so it is for sharding" in said
    assert settings.cold_start.freeze_vision and settings.grpo.freeze_vision


@pytest.mark.parametrize("profile", PROFILES)
def test_the_profiles_limits_of_tokens_are_derived_as_they_say(profile: str) -> None:
    settings = load_settings(profile)
    g, shape = settings.grpo, base_shape(settings)
    assert shape is not None
    said = (REPOSITORY / "configs" / f"{profile}.yaml").read_text()
    prompt = prompt_tokens(settings, shape, Task.IMAGE_GENERATION)
    assert f"8 x (a prompt of {prompt} + grpo.max_tokens)" in said
    images = g.micro_batch * (prompt + g.max_tokens)
    assert settings.runtime.micro_tokens is not None
    assert 0 <= settings.runtime.micro_tokens - images < 1024

    def most(tokens: int) -> float:
        changed = with_value(settings, "runtime.generation_tokens", tokens)
        found = [one for one in parts(changed, shape, device="cuda") if one.moment != "training"]
        return max(one.memory.certain + FACTOR * (one.memory.total - one.memory.certain) for one in found)

    limit = settings.runtime.generation_tokens
    assert limit is not None
    assert limit % 16384 == 0
    assert most(limit) <= GPU < most(limit + 16384)
