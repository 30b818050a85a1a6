"""What deployments/prefect.yaml says, held against the flows and stages it names; tests/flows deploy it for real."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from tasks.ops.deploying import active
from tasks.pipeline.graph import RECIPE

FILE = Path(__file__).resolve().parents[2] / "deployments" / "prefect.yaml"
GPU = {"cold-start", "rejection-sampling", "grpo", "benchmark"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


@pytest.fixture(scope="module")
def deployed(document: dict[str, Any]) -> dict[str, tuple[dict[str, Any], Flow[..., Any]]]:
    """Deployment and flow by the flow's name."""
    pairs = [(one, load_flow_from_entrypoint(one["entrypoint"])) for one in document["deployments"]]
    return {flow.name: (one, flow) for one, flow in pairs}


def test_every_stage_the_nightly_the_benchmarks_and_the_approval_are_deployed_as_default(
    deployed: dict[str, Any],
) -> None:
    assert set(deployed) == {*RECIPE, "nightly", "benchmark", "approve"}
    assert {one["name"] for one, _ in deployed.values()} == {"default"}


def test_training_and_sampling_go_to_the_gpu_pool_and_the_rest_to_cpu(deployed: dict[str, Any]) -> None:
    pools = {name: one["work_pool"]["name"] for name, (one, _) in deployed.items()}
    assert pools == {name: "gpu" if name in GPU else "cpu" for name in deployed}


def test_entrypoints_are_dotted(document: dict[str, Any]) -> None:
    for one in document["deployments"]:
        assert not {"/", ":"} & set(one["entrypoint"])


def test_wrong_values_are_refused_by_the_server(deployed: dict[str, Any]) -> None:
    assert all(one["enforce_parameter_schema"] for one, _ in deployed.values())


@pytest.mark.parametrize("name", [*RECIPE, "nightly", "benchmark", "approve"])
def test_every_parameter_is_described_and_none_is_free_form(name: str, deployed: dict[str, Any]) -> None:
    schema = parameter_schema(deployed[name][1])
    for parameter in schema.properties.values():
        assert parameter.get("description")
        if parameter.get("type") == "object":
            assert parameter["additionalProperties"] is False


def test_the_nightly_queues_and_takes_its_schedule_from_the_profile(deployed: dict[str, Any]) -> None:
    nightly = deployed["nightly"][0]
    assert nightly["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert nightly["schedules"][0]["cron"] == "{{ active.cron }}"
    assert nightly["schedules"][0]["timezone"] == "{{ active.timezone }}"


def test_what_the_file_asks_of_the_profile_is_answered(document: dict[str, Any]) -> None:
    asked = set(re.findall(r"{{ active\.(\w+) }}", FILE.read_text()))
    assert asked == set(active())


def test_a_profile_of_ones_own_is_found_from_wherever_a_worker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 4\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THINKREWARD_PROFILE", "mine.yaml")
    assert active()["found"] == str(tmp_path / "mine.yaml")
    assert active()["profile"] == "mine"


def test_a_worker_without_the_package_is_told_what_to_install(document: dict[str, Any], tmp_path: Path) -> None:
    script = document["pull"][0]["prefect.deployments.steps.run_shell_script"]["script"]
    bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "", "HOME": str(tmp_path)}
    # The shell's parent is looked at, and that is a Python with no package of ours on its path.
    program = f"import subprocess, sys; sys.exit(subprocess.run({script!r}, shell=True).returncode)"
    isolated = tmp_path / "bare"
    subprocess.run(["python3", "-m", "venv", "--without-pip", str(isolated)], check=True)
    done = subprocess.run(
        [str(isolated / "bin" / "python"), "-c", program], cwd=tmp_path, env=bare, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "has no Thinkreward" in done.stderr
    assert "pip install -c constraints.txt ." in done.stderr


def test_a_worker_with_the_package_goes_on(document: dict[str, Any], tmp_path: Path) -> None:
    script = document["pull"][0]["prefect.deployments.steps.run_shell_script"]["script"]
    program = f"import subprocess, sys; sys.exit(subprocess.run({script!r}, shell=True).returncode)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
