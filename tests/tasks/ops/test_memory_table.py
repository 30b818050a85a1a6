"""The table of memory in the docs is the one that the code makes, and what stands beside it follows from it."""

from configs.load import load_settings
from models.sizing.memory import Weights, states
from tasks.ops.base_shape import base_shape
from tasks.ops.memory_table import memory_table
from tasks.pipeline.graph import REPOSITORY


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
