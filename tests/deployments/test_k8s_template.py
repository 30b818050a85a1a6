"""deployments/k8s-gpu-template.json: what Prefect makes of it, and whether Kubernetes would take that.

With prefect-kubernetes installed, the last test has its worker make the job; without it, the worker's own steps are
left out here: it turns `env` into a list, and adds labels.
"""

import asyncio
import copy
import json
import os
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

import dockerfile
import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from prefect.client.orchestration import get_client
from prefect.server.schemas.actions import DeploymentCreate, WorkPoolCreate
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness
from prefect.utilities.schema_tools.validation import ValidationError as VariablesRefused
from prefect.utilities.templating import find_placeholders
from prefect.workers.base import BaseJobConfiguration

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "deployments" / "k8s-gpu-template.json"
TEMPLATE: dict[str, Any] = json.loads(FILE.read_text())
VARIABLES: dict[str, dict[str, Any]] = TEMPLATE["variables"]["properties"]
RELEASES = ("1.31", "1.37")  # the oldest that clouds still serve, and the newest whose schema is at hand
# Prefect's worker demands these two in the pod, where Kubernetes has no such fields and drops them; and this name.
OF_PREFECT_ALONE = ("parallelism", "completions")
CONTAINER = "prefect-job"
OTHERS: dict[str, Any] = {
    "image": "registry.example/team/thinkreward@sha256:" + "ab" * 32,
    "image_pull_policy": "Always",
    "image_pull_secrets": [{"name": "registry"}],
    "namespace": "training",
    "service_account_name": "trainer",
    "gpus": 8,
    "gpu_node_selector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoExecute"}],
    "runtime_class_name": "nvidia",
    "priority_class_name": "preemptible",
    "cpu": "500m",
    "memory": "512Gi",
    "shm_size": "128Gi",
    "model_cache_claim": "models",
    "secret_name": "training-env",
    "env": {"THINKREWARD_PROFILE": "qwen3_vl_8b"},
    "name": "grpo",
    "command": "thinkreward doctor",
    "labels": {"team": "judges"},
    "annotations": {"example.org/why": "a test"},
    "termination_grace_seconds": 600,
    "finished_job_ttl": 0,
    "pod_watch_timeout_seconds": 60,
    "job_watch_timeout_seconds": 3600,
    "stream_output": False,
}


class Rendered(BaseJobConfiguration):
    """The fields of prefect-kubernetes's configuration that the template fills."""

    job_manifest: dict[str, Any]
    namespace: str
    annotations: dict[str, str]
    stream_output: bool
    pod_watch_timeout_seconds: int
    job_watch_timeout_seconds: int | None = None


def render(**values: Any) -> Rendered:
    """The template with these variables, as a worker of any type fills it in; no API is asked for that."""
    made = asyncio.run(Rendered.from_template_and_values(TEMPLATE, values, client=object()))  # type: ignore[arg-type]
    container = made.job_manifest["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": name, "value": value} for name, value in made.env.items()]
    container["args"] = made.command.split() if made.command else ["prefect", "flow-run", "execute"]
    return made


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pod's part of a job."""
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def check(manifest: dict[str, Any], release: str) -> None:
    """Kubernetes' own schema, unknown fields refused but those two of Prefect, and what Prefect asks for."""
    strict = copy.deepcopy(manifest)
    for name in OF_PREFECT_ALONE:
        assert pod(strict).pop(name) == 1
    assert [container["name"] for container in pod(strict)["containers"]] == [CONTAINER]
    kubernetes_validate.validate(strict, release, strict=True)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("values", [{}, OTHERS], ids=["defaults", "all-others"])
def test_the_job_is_one_that_kubernetes_takes(values: dict[str, Any], release: str) -> None:
    manifest = render(**values).job_manifest
    assert not find_placeholders(json.dumps(manifest))
    check(manifest, release)


def test_every_variable_changes_something() -> None:
    assert OTHERS.keys() == VARIABLES.keys()
    before = render(name="run", command="prefect version").model_dump()
    for name, value in OTHERS.items():
        after = render(**{"name": "run", "command": "prefect version", name: value}).model_dump()
        assert after != before, f"{name} is used nowhere"


def test_what_is_chosen_is_where_kubernetes_looks_for_it() -> None:
    manifest = render(**OTHERS).job_manifest
    (container,) = pod(manifest)["containers"]
    assert container["resources"]["limits"] == {"memory": "512Gi", "nvidia.com/gpu": 8}
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "512Gi", "nvidia.com/gpu": 8}
    assert container["envFrom"] == [{"secretRef": {"name": "training-env"}}]
    assert {"name": "THINKREWARD_PROFILE", "value": "qwen3_vl_8b"} in container["env"]
    assert {"name": "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "value": "30"} in container["env"]  # merged, not replaced
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(manifest)["volumes"]}
    assert volumes[mounted["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "128Gi"}
    assert volumes[mounted["/cache"]]["persistentVolumeClaim"] == {"claimName": "models"}
    assert pod(manifest)["nodeSelector"] == OTHERS["gpu_node_selector"]
    assert pod(manifest)["tolerations"] == OTHERS["tolerations"]


def test_a_run_is_tried_by_prefect_alone_and_never_ended_by_the_clock() -> None:
    spec = render().job_manifest["spec"]
    assert spec["backoffLimit"] == 0 and pod({"spec": spec})["restartPolicy"] == "Never"
    assert "activeDeadlineSeconds" not in spec | pod({"spec": spec})
    assert spec["ttlSecondsAfterFinished"] == 86400


def test_it_runs_without_rights_as_the_user_of_the_image() -> None:
    security = pod(render().job_manifest)["securityContext"]
    user = [c.value[0] for c in dockerfile.parse_file(str(FILE.with_name("Dockerfile"))) if c.cmd == "USER"][-1]
    assert security["runAsNonRoot"] is True
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == user
    assert security["fsGroup"] == security["runAsGroup"]
    (container,) = pod(render().job_manifest)["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_the_variables_are_a_schema_that_explains_itself_and_fits_its_own_defaults() -> None:
    Draft202012Validator.check_schema(TEMPLATE["variables"])
    defaults = {name: variable["default"] for name, variable in VARIABLES.items()}
    Draft202012Validator(TEMPLATE["variables"]).validate(defaults)
    Draft202012Validator(TEMPLATE["variables"]).validate(OTHERS)
    for name, variable in VARIABLES.items():
        assert variable["title"] and variable["description"].endswith("."), name


def test_every_placeholder_has_a_variable_and_the_reverse() -> None:
    placeholders = {found.name for found in find_placeholders(json.dumps(TEMPLATE["job_configuration"]))}
    assert placeholders == VARIABLES.keys()
    # What Prefect's server checks when the pool is made.
    WorkPoolCreate(name="gpu", type="kubernetes", base_job_template=TEMPLATE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpus": 0},  # would train on the CPU of a GPU node
        {"gpus": "2"},  # Kubernetes' quantity, but a number is asked for
        {"gpus": 64},
        {"shm_size": "16G"},  # decimal
        {"memory": "lots"},
        {"cpu": "0"},
        {"namespace": "Training"},
        {"image": "thinkreward"},  # no tag: whatever is latest
        {"image_pull_policy": "Sometimes"},
        {"tolerations": [{"key": "gpu", "effect": "NoRun"}]},
        {"termination_grace_seconds": 1},  # a lease could not be given back
        {"finished_job_ttl": -1},
        {"gpu": 1},  # a slip of the pen
    ],
    ids=str,
)
def test_a_deployment_with_an_impossible_choice_is_refused(wrong: dict[str, Any]) -> None:
    deployment = DeploymentCreate(name="d", flow_id=uuid.uuid4(), job_variables=wrong)
    with pytest.raises(VariablesRefused):
        deployment.check_valid_configuration(TEMPLATE)


def test_our_own_deployments_ask_for_nothing_it_does_not_have() -> None:
    deployed = yaml.safe_load((FILE.with_name("prefect.yaml")).read_text())["deployments"]
    to_gpu = [one["work_pool"] for one in deployed if one["work_pool"]["name"] == "gpu"]
    assert to_gpu
    for work_pool in to_gpu:
        asked = work_pool.get("job_variables", {})
        DeploymentCreate(name="d", flow_id=uuid.uuid4(), job_variables=asked).check_valid_configuration(TEMPLATE)


def test_the_image_is_the_one_that_the_dockerfile_says_how_to_build() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert VARIABLES["image"]["default"] == f"thinkreward:{version}-cuda"
    assert f"--target cuda -t thinkreward:{version}-cuda " in FILE.with_name("Dockerfile").read_text()


@pytest.mark.slow
@pytest.mark.long
def test_prefects_own_command_makes_the_pool() -> None:
    with prefect_test_harness(server_startup_timeout=120):
        environment = {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "DO_NOT_TRACK": "true"}
        command = ("work-pool", "create", "gpu", "--type", "kubernetes", "--base-job-template", str(FILE))
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *command], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        with get_client(sync_client=True) as client:
            made = client.read_work_pool("gpu")
    assert made.type == "kubernetes"
    assert made.base_job_template == TEMPLATE


@pytest.mark.parametrize(
    "values", [{}, {name: OTHERS[name] for name in OTHERS if name != "command"}], ids=["defaults", "others"]
)
def test_the_kubernetes_worker_makes_a_job_of_it(values: dict[str, Any]) -> None:
    worker = pytest.importorskip("prefect_kubernetes.worker", reason="prefect-kubernetes is not installed")
    from prefect.client.schemas.objects import FlowRun

    async def prepared() -> Any:
        made = await worker.KubernetesWorkerJobConfiguration.from_template_and_values(TEMPLATE, values, client=object())
        made.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="calm-otter"))
        return made

    manifest = asyncio.run(prepared()).job_manifest
    for release in RELEASES:
        check(manifest, release)
    (container,) = pod(manifest)["containers"]
    assert container["args"] == ["prefect", "flow-run", "execute"]
    # Evicted or preempted, it goes back to the queue, and resumes from the store.
    assert {"name": "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR", "value": "reschedule"} in container["env"]
