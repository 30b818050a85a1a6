"""What is named by a string is there: bodies, inputs, checks, entry points, modules that do not count."""

import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tasks.pipeline.graph import STAGES, named
from tasks.versions import code_closure
from tasks.versions.stage_code import entries

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_names_can_be_called(stage: str) -> None:
    one = STAGES[stage]
    for function in filter(None, (one.body, one.dynamic_inputs, one.is_stale)):
        assert callable(named(function)), function
    for name, source in one.inputs.items():
        assert source.output in STAGES[source.stage].outputs, name


def test_what_is_kept_as_stages_are_can_be_called() -> None:
    assert set(STAGES) < set(entries())
    assert all(callable(named(function)) for _, function in entries().values())


def test_commands_and_deployments_name_functions_that_are_there() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert [callable(named(function)) for function in project["scripts"].values()] == [True]
    deployments = yaml.safe_load((REPOSITORY / "deployments" / "prefect.yaml").read_text())["deployments"]
    assert deployments
    for one in deployments:
        assert callable(named(":".join(one["entrypoint"].rsplit(".", 1)))), one["entrypoint"]


def test_modules_that_do_not_count_as_a_stages_code_exist() -> None:
    named_there = [*code_closure.LEFT_OUT, *code_closure.PASSED]
    assert named_there
    for module in named_there:
        assert find_spec(module) is not None, module
