"""The profiles that come with Thinkreward, and the reference of all settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.load import FOLDER, describe, load_settings, profiles
from configs.schema import Grpo, Lora, Settings, Sft

Write = Callable[[str], Path]


def stated(tree: dict[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in tree.items():
        flat |= stated(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


class TestProfiles:
    def test_the_three_profiles_are_listed(self) -> None:
        assert profiles() == ["qwen2_5_vl_7b", "qwen2_5_vl_7b_full", "qwen3_5_9b", "qwen3_vl_8b", "shapes"]

    @pytest.mark.parametrize("name", profiles())
    def test_every_profile_loads_and_bears_its_name(self, name: str) -> None:
        assert load_settings(name).profile == name

    @pytest.mark.parametrize("name", profiles())
    def test_every_profile_opens_with_its_purpose(self, name: str) -> None:
        assert (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")

    @pytest.mark.parametrize("name", profiles())
    def test_a_profile_states_only_what_differs_from_the_defaults(self, name: str) -> None:
        defaults = stated(Settings().model_dump())
        fields = stated(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))
        # By default there are no adapters, so that any number of theirs differs.
        assert [path for path, value in fields.items() if ".lora." not in path and defaults[path] == value] == []

    @pytest.mark.parametrize("name", ["qwen2_5_vl_7b", "qwen3_vl_8b", "qwen3_5_9b"])
    def test_large_profiles_train_adapters_on_one_gpu_and_publish_bfloat16(self, name: str) -> None:
        settings = load_settings(name)
        for section in (settings.cold_start, settings.rejection_sampling.sft, settings.grpo):
            assert section.lora == Lora(rank=64)
        assert settings.cold_start.learning_rate == pytest.approx(10 * Sft().learning_rate)
        assert settings.grpo.learning_rate == pytest.approx(10 * Grpo().learning_rate)
        assert (settings.model.dtype, settings.model.publish_dtype) == ("bfloat16", "bfloat16")

    def test_full_fine_tuning_is_a_profile_of_its_own(self) -> None:
        adapters, full = load_settings("qwen2_5_vl_7b"), load_settings("qwen2_5_vl_7b_full")
        assert full.cold_start.lora is full.rejection_sampling.sft.lora is full.grpo.lora is None
        assert (adapters.model, adapters.distill, adapters.grpo.preset) == (full.model, full.distill, full.grpo.preset)

    def test_the_paper_profile_keeps_the_papers_numbers(self) -> None:
        settings = load_settings("qwen2_5_vl_7b_full")
        sft = settings.cold_start
        assert settings.distill.pairs == 10_000
        assert (sft.epochs, sft.learning_rate, sft.batch, sft.warmup) == (3, 2.5e-6, 128, 0.03)
        assert (settings.grpo.preset, settings.grpo.learning_rate, settings.grpo.group) == ("paper", 1e-6, 8)
        assert (settings.model.max_pixels, settings.model.max_frames) == (147_456, 8)

    def test_a_path_is_a_profile_named_by_its_stem(self, write: Write) -> None:
        settings = load_settings(str(write("seed: 7\n")))
        assert (settings.profile, settings.seed) == ("mine", 7)

    def test_an_empty_file_means_the_defaults(self, write: Write) -> None:
        assert load_settings(str(write("# nothing\n"))) == Settings(profile="mine")


class TestDescribe:
    def test_every_field_is_a_row_with_type_default_and_description(self) -> None:
        rows = {row.path: row for row in describe()}
        assert rows["grpo.group"].type == "a whole number from 2 to 256"
        assert rows["grpo.group"].default == "8"
        assert rows["cold_start.freeze_vision"].default == "true"
        assert rows["cold_start.lora"].default == "null"
        assert rows["cold_start.lora.rank"].default == "64"
        assert set(stated(Settings().model_dump())) <= set(rows)
        assert all(row.type and row.description for row in rows.values())
