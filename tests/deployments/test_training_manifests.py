"""deployments/training-*.yaml: jobs and pods that Kubernetes takes, and whose numbers agree."""

import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from configs.load import load_settings
from configs.schema import Distributed
from tasks.training.node import main as node

DEPLOYMENTS = Path(__file__).resolve().parents[2] / "deployments"
JOBSET: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "training-jobset.yaml").read_text())
RAYJOB: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "training-rayjob.yaml").read_text())
RELEASES = ("1.31", "1.37")
GPU = "nvidia.com/gpu"


def jobs() -> dict[str, dict[str, Any]]:
    return {one["name"]: one["template"]["spec"] for one in JOBSET["spec"]["replicatedJobs"]}


def groups() -> list[dict[str, Any]]:
    cluster = RAYJOB["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def container(template: dict[str, Any]) -> dict[str, Any]:
    (only,) = template["spec"]["containers"]
    return dict(only)


def settings_of(arguments: list[str]) -> Distributed:
    """The settings that a command line gives, as they are loaded."""
    sets = [one.removeprefix("--set=") for one in arguments if one.startswith("--set=")]
    sets += [arguments[at + 1] for at, one in enumerate(arguments) if one == "--set"]
    assert sets
    return load_settings("qwen2_5_vl_7b_full", sets).runtime.distributed


@pytest.mark.parametrize("release", RELEASES)
def test_the_jobs_of_the_set_are_ones_that_kubernetes_takes(release: str) -> None:
    for name, spec in jobs().items():
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        kubernetes_validate.validate(job, release, strict=True)


@pytest.mark.parametrize("release", RELEASES)
def test_the_pods_of_the_ray_cluster_are_ones_that_kubernetes_takes(release: str) -> None:
    for group in groups():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, release, strict=True)


def test_the_set_has_as_many_nodes_and_devices_as_its_settings_say() -> None:
    stage, nodes = jobs()["stage"], jobs()["nodes"]
    given = settings_of(container(stage["template"])["command"])
    assert given.engine == "torchrun"
    assert nodes["parallelism"] == nodes["completions"] == given.nodes - 1
    for job in (stage, nodes):
        assert container(job["template"])["resources"]["limits"][GPU] == given.processes
    command = container(nodes["template"])["command"]
    assert command[:3] == ["python", "-m", node.__module__]
    assert {
        f"--rendezvous={given.rendezvous}", f"--nodes={given.nodes}", f"--processes={given.processes}"
    } <= {*command}  # fmt: skip
    name = JOBSET["metadata"]["name"]
    assert given.rendezvous.startswith(f"{name}-stage-0-0.{name}:")


def test_the_ray_cluster_has_as_many_nodes_and_devices_as_its_settings_say() -> None:
    given = settings_of(shlex.split(RAYJOB["spec"]["entrypoint"]))
    _, workers = groups()
    assert given.engine == "ray"
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == given.nodes
    assert container(workers["template"])["resources"]["limits"][GPU] == given.processes


def test_the_ray_clusters_release_is_the_one_that_is_installed() -> None:
    pins = (DEPLOYMENTS.parent / "constraints.txt").read_text().splitlines()
    assert f"ray=={RAYJOB['spec']['rayClusterSpec']['rayVersion']}" in pins


def test_every_pod_sees_the_same_cache() -> None:
    pods = [*(job["template"] for job in jobs().values()), *(group["template"] for group in groups())]
    claims = [one["persistentVolumeClaim"]["claimName"] for pod in pods for one in pod["spec"]["volumes"]
              if "persistentVolumeClaim" in one]  # fmt: skip
    assert claims == ["thinkreward-cache"] * len(pods)
    for pod in pods:
        assert {"name": "cache", "mountPath": "/cache"} in container(pod)["volumeMounts"]
