"""Settings as a form: what a deployed flow shows, what it refuses, and what comes of a part of it."""

from typing import Annotated, Any

import jsonschema
import pytest
from pydantic import TypeAdapter, ValidationError

from configs.forms import Form, complete
from configs.load import load_settings
from configs.schema import Settings

FORM = Form("grpo", "runtime")
ADAPTER: TypeAdapter[Settings] = TypeAdapter(Annotated[Settings, FORM])


def fits(value: dict[str, Any]) -> bool:
    """Whether Prefect's server, which knows the JSON schema alone, would take the value."""
    return bool(jsonschema.Draft202012Validator(ADAPTER.json_schema()).is_valid(value))


def test_the_form_has_its_sections_and_the_seed_alone() -> None:
    assert list(ADAPTER.json_schema()["properties"]) == ["grpo", "runtime", "seed"]


def test_the_defaults_are_the_profiles_values() -> None:
    rate = load_settings("shapes").grpo.learning_rate
    assert ADAPTER.json_schema()["$defs"]["Grpo"]["properties"]["learning_rate"]["default"] == rate
    assert FORM.defaults["grpo"]["learning_rate"] == rate
    assert rate != Settings().grpo.learning_rate


def test_the_defaults_fit_the_form_and_make_the_profile() -> None:
    assert fits(FORM.defaults)
    assert complete(FORM.defaults) == load_settings("shapes")


def test_every_field_says_what_it_means() -> None:
    schema = ADAPTER.json_schema()
    for section in schema["$defs"].values():
        assert all(field.get("description") for field in section["properties"].values())


@pytest.mark.parametrize(
    "value",
    [
        {"grpo": {"learning_rate": -1}},  # below the limit
        {"grpo": {"group": 1000}},  # above it
        {"grpo": {"group": 2.5}},  # no whole number
        {"grpo": {"preset": "modren"}},  # none of the choices
        {"grpo": {"lr": 1e-5}},  # no such field
        {"prepare": {"train_pairs": 3}},  # a section of another stage
        {"runtime": {"threads": "two"}},
    ],
)
def test_a_wrong_value_is_refused_before_a_run_exists(value: dict[str, Any]) -> None:
    assert not fits(value)


def test_a_part_is_laid_over_the_profile() -> None:
    settings = ADAPTER.validate_python({"grpo": {"learning_rate": 1e-5}})
    assert settings.grpo.learning_rate == 1e-5
    assert settings.grpo.preset == load_settings("shapes").grpo.preset
    assert settings.distill == load_settings("shapes").distill


def test_whole_settings_pass_as_they_are() -> None:
    settings = load_settings("qwen3_vl_8b")
    assert ADAPTER.validate_python(settings) is settings


def test_a_contradiction_is_refused_by_name_when_the_run_begins() -> None:
    with pytest.raises(ValidationError, match="micro_batch 3 must divide"):
        ADAPTER.validate_python({"grpo": {"micro_batch": 3}})


def test_the_profile_of_the_environment_gives_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINKREWARD_PROFILE", "qwen3_vl_8b")
    assert Form("distill").defaults["distill"]["teacher"] == "openai"
    assert complete({}).profile == "qwen3_vl_8b"
