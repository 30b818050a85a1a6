"""The schema's own promises: described, strict, frozen, and clear about what enters a stage's key."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.explain import section_of
from configs.schema import Distill, Grpo, Rewards, Section, Settings, Sft

REPOSITORY = Path(__file__).resolve().parents[2]


def sections(section: type[Section] = Settings) -> Iterator[type[Section]]:
    yield section
    for field in section.model_fields.values():
        if inner := section_of(field):
            yield from sections(inner)


SECTIONS = sorted(set(sections()), key=lambda section: section.__name__)
FIELDS = [(section, name) for section in SECTIONS for name in section.model_fields]


@pytest.mark.parametrize(("section", "name"), FIELDS, ids=[f"{section.__name__}.{name}" for section, name in FIELDS])
def test_every_field_is_described(section: type[Section], name: str) -> None:
    assert section.model_fields[name].description


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_is_documented(section: type[Section]) -> None:
    assert section.__doc__


@pytest.mark.parametrize("section", SECTIONS)
def test_neutral_fields_exist(section: type[Section]) -> None:
    assert set(section.model_fields) >= section.RESULT_NEUTRAL


def test_key_fields_leave_out_what_does_not_change_a_result() -> None:
    assert set(Distill().key_fields()) == set(Distill.model_fields) - Distill.RESULT_NEUTRAL
    assert Distill().key_fields() == Distill(concurrency=3, timeout_s=1.0).key_fields()
    assert Distill().key_fields() != Distill(temperature=0.1).key_fields()


def test_key_fields_of_inner_sections_are_filtered_too() -> None:
    sampling = Settings().rejection_sampling.key_fields()["sft"]
    assert isinstance(sampling, dict)
    assert "learning_rate" in sampling
    assert "checkpoint_every" not in sampling


def test_a_profiles_name_and_places_enter_no_key() -> None:
    assert not {"profile", "storage", "tracking", "runtime"} & set(Settings().key_fields())


def test_a_batch_that_its_micro_batch_does_not_divide_is_refused() -> None:
    with pytest.raises(ValidationError, match="micro_batch 8: choose"):
        Sft(batch=100)


@pytest.mark.parametrize("micro_batch", [12, 40, 128])
def test_grpo_micro_batches_hold_whole_groups_and_divide_the_step(micro_batch: int) -> None:
    with pytest.raises(ValidationError, match="choose 8 times a divisor of 8"):
        Grpo(micro_batch=micro_batch)


def test_a_resumed_run_of_several_steps_a_generation_never_samples_again() -> None:
    with pytest.raises(ValidationError, match=r"generation of 6 steps .* checkpoint_every=12,"):
        Grpo(steps_per_generation=2, generation_passes=3)
    made = Grpo(steps_per_generation=2, generation_passes=3, checkpoint_every=12, validate_every=12)
    assert (made.generation_steps, Grpo(preset="cispo", checkpoint_every=4, validate_every=4).generation_steps) == (
        2,
        4,
    )
    assert Grpo(preset="cispo", steps_per_generation=1).generation_steps == 1


def test_rewards_for_both_orders_need_both_in_one_generation() -> None:
    orders = Rewards(orders=1.0)
    with pytest.raises(ValidationError, match=r"a generation of 3 prompts .* prompts_per_step=4, or orders=0"):
        Grpo(rewards=orders, prompts_per_step=3, micro_batch=24)
    assert Grpo(rewards=orders, prompts_per_step=3, micro_batch=24, steps_per_generation=2).rewards == orders
    assert Grpo(prompts_per_step=3, micro_batch=24).rewards.orders == 0


def test_sections_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 1  # type: ignore[misc]


def test_settings_survive_json() -> None:
    settings = Settings()
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
    assert Settings.model_validate(settings.model_dump()) == settings


def test_loading_settings_imports_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "mlflow", "prefect", "numpy", "models", "tasks", "flows"}
    code = (
        "import sys, configs.load as load; load.load_settings('shapes'); load.describe();"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
