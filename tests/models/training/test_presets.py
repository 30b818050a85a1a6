"""Presets of GRPO: what they hand to TRL, the gate of accuracy, and that the documentation says the same."""

import typing
from pathlib import Path
from typing import Any, Literal

import pytest
from trl import GRPOConfig

from configs.schema import Grpo, Model, Runtime
from models.training.compute import Compute
from models.training.presets import PRESETS, needs_format, preset_table
from models.verdict.rewards import reward_functions

DOCS = Path(__file__).resolve().parents[3] / "docs" / "training.md"
UNTHOUGHT = "<answer>Image 1 is better</answer>"


def test_the_settings_offer_each_preset() -> None:
    assert typing.get_args(Grpo.model_fields["preset"].annotation) == tuple(PRESETS)


def test_the_documentation_holds_the_table_of_the_code() -> None:
    assert preset_table(Grpo.model_fields["max_tokens"].default) in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PRESETS)
def test_trl_takes_the_flags_as_they_are(name: str, tmp_path: Path) -> None:
    config = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **PRESETS[name].flags)
    assert {flag: getattr(config, flag) for flag in PRESETS[name].flags} == dict(PRESETS[name].flags)


def test_the_papers_preset_is_the_papers() -> None:
    flags = PRESETS["paper"].flags
    assert (flags["loss_type"], flags["scale_rewards"], flags["beta"]) == ("grpo", "group", 0.04)
    assert flags["epsilon"] == flags["epsilon_high"]
    assert not flags["use_bias_correction_kl"]  # GRPO's own KL term, where TRL's default weighs it by the ratio


@pytest.mark.parametrize(
    ("preset", "said", "earned"),
    [("paper", None, 1.0), ("modern", None, 0.0), ("paper", True, 0.0), ("modern", False, 1.0)],
)
def test_accuracy_is_gated_on_format_as_the_preset_or_the_setting_says(
    preset: str, said: bool | None, earned: float
) -> None:
    accuracy, form = reward_functions(["accuracy", "format"], accuracy_needs_format=needs_format(preset, said))
    columns: dict[str, Any] = {"completions": [UNTHOUGHT], "task": ["image_generation"], "preferred": ["1"]}
    assert (accuracy(**columns), form(**columns)) == ([earned], [0.0])


def test_the_trainer_is_given_the_gate_that_the_preset_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`train_grpo` hands TRL the reward that `reward_functions` gives for the preset."""
    from models.pairs.dataset import PreferenceDataset, write_dataset
    from models.pairs.preference import Task
    from models.shapes.pairs import make_pair
    from models.training import grpo

    base = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"
    made = make_pair(Task.IMAGE_GENERATION, 0, seed=0, held_out=False)
    write_dataset(tmp_path, {"train": [made.pair], "held_out": [made.pair]}, made.blobs)
    media = PreferenceDataset(tmp_path, max_pixels=147_456, max_frames=8)
    given: list[list[str]] = []

    class GivenError(Exception):
        pass

    def caught(*, reward_funcs: list[Any], **_: Any) -> None:
        given.append([one.__name__ for one in reward_funcs])
        raise GivenError

    monkeypatch.setattr(grpo, "CompletionsTrainer", caught)
    presets: tuple[Literal["paper", "modern"], ...] = ("paper", "modern")
    for preset in presets:
        section = Grpo(preset=preset, group=2, prompts_per_step=1, micro_batch=2)
        how: Any = {"grpo": section, "compute": Compute(0, Model(), Runtime(device="cpu"))}
        with pytest.raises(GivenError):
            grpo.train_grpo(base, [made.pair], [made.pair], media, **how, scratch=tmp_path / preset)
    assert given == [
        ["format_reward", "answer_reward", "consistency_reward"],
        ["format_reward", "accuracy_reward", "consistency_reward"],
    ]
