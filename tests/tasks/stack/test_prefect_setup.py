"""What is refused before Prefect is asked; what Prefect makes of the rest, test_cli_stack asks a real one."""

import json
from pathlib import Path

import pytest

from models.errors import ConfigError
from tasks.stack.automations import crash_automation
from tasks.stack.prefect_setup import PREFECT_FILE, Pool, names_in, prepare, wanted_pools
from tasks.stack.state import StackError
from tests.tasks.seaweed import free_ports

TEMPLATE = PREFECT_FILE.parent / "k8s-gpu-template.json"


def test_the_gpu_takes_one_run_at_a_time_unless_a_person_says_otherwise() -> None:
    assert {pool.name: (pool.type, pool.limit, pool.set_limit) for pool in wanted_pools()} == {
        "cpu": ("process", 4, False),
        "gpu": ("process", 1, False),
    }
    cpu, gpu = wanted_pools(gpu_limit=3, gpu_template=TEMPLATE)
    assert (gpu.type, gpu.limit, gpu.set_limit) == ("kubernetes", 3, True)
    assert cpu.type == "process"


def test_every_deployment_of_the_repository_is_counted() -> None:
    assert "flows.pipeline.train_pipeline" in names_in(PREFECT_FILE)
    assert len(set(names_in(PREFECT_FILE))) == len(names_in(PREFECT_FILE))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),  # no such file: Prefect would say "Skipping" and succeed
        ("deployments: [", "cannot be read"),  # no YAML
        ("name: x", "has no deployments"),
        ("deployments: []", "has no deployments"),
        ("- a\n- b", "has no deployments"),  # a list, not a mapping
    ],
)
def test_a_deployments_file_that_prefect_would_pass_over_is_refused(
    text: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "prefect.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        names_in(path)


@pytest.mark.parametrize("content", ["not json", json.dumps([]), json.dumps({"variables": {}})])
def test_a_template_that_is_none_is_refused_before_the_server_is_asked(content: str, tmp_path: Path) -> None:
    path = tmp_path / "template.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"template\.json"):
        prepare("http://127.0.0.1:1/api", [Pool("gpu", 1, "", template=path)], {}, lambda _: None)


def test_a_server_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
    api = f"http://127.0.0.1:{free_ports(1)[0]}/api"
    with pytest.raises(StackError, match=f"Prefect at {api} does not answer"):
        prepare(api, wanted_pools(), {}, lambda _: None)


def test_a_run_that_is_silent_and_well_is_not_taken_for_dead() -> None:
    """Of a state that the automation does not expect, the run would be crashed 90 s later."""
    expected = crash_automation().trigger.expect  # type: ignore[union-attr]
    from prefect import states

    ended = [states.Completed(), states.Failed(), states.Crashed(), states.Cancelled()]
    away = [states.Suspended(), states.Paused(), states.AwaitingRetry(), states.Scheduled()]
    for state in [*ended, *away]:
        assert f"prefect.flow-run.{state.name}" in expected
    assert "prefect.flow-run.TimedOut" in expected
    assert "prefect.flow-run.Running" not in expected
