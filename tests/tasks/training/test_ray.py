"""A training on a Ray cluster of two nodes here: torchrun's model, also when a worker or a node is killed."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from configs.schema import Distributed
from models.errors import ConfigError
from tests.tasks.training.plans import TUNING, TWO, Reports, digest, once, planned, trained, write_pairs

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "preferences"
    write_pairs(folder, 8)
    return folder


@pytest.fixture(scope="module")
def torchrun(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the model that two processes of torchrun make."""
    plan = planned(data, tmp_path_factory.mktemp("torchrun"), TWO, sft=TUNING)
    trained(plan, Reports())
    return digest(plan.out)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each and one to spare, beside a head that computes nothing."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(3):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()


def on(cluster: Any, **more: Any) -> Distributed:
    return Distributed(engine="ray", nodes=2, processes=1, address=cluster.address, **more)


def workers() -> list[psutil.Process]:
    """Ray's training workers."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            if one.name().startswith("ray::") and "TrainWorker" in " ".join([one.name(), *one.cmdline()]):
                found.append(one)
    return found


def gone() -> bool:
    deadline = time.monotonic() + 60
    while workers() and time.monotonic() < deadline:
        time.sleep(0.5)
    return workers() == []


def test_two_nodes_make_the_model_of_torchrun(data: Path, torchrun: str, cluster: Any, tmp_path: Path) -> None:
    reports = Reports()
    plan = planned(data, tmp_path, on(cluster), sft=TUNING)
    trained(plan, reports)
    assert digest(plan.out) == torchrun
    assert [step for step, values in reports.metrics if "loss" in values] == [1, 2, 3, 4]
    assert [step for step, _ in reports.checkpoints] == [2, 4]
    assert gone()


@pytest.mark.parametrize("what", ["worker", "node"])
def test_what_is_killed_costs_the_steps_since_the_last_checkpoint(
    data: Path, torchrun: str, cluster: Any, tmp_path: Path, what: str
) -> None:
    reports = Reports()
    plan = planned(data, tmp_path, on(cluster), sft=TUNING)

    def kill() -> None:
        worker = workers()[0]
        (worker if what == "worker" else worker.parent()).kill()  # the raylet started it

    with once((tmp_path / "latest").is_file, kill) as happened:
        trained(plan, reports)
    assert happened.is_set()
    assert any("resuming from checkpoint-" in line for line in reports.lines)
    assert digest(plan.out) == torchrun
    assert gone()


def test_more_processes_than_the_cluster_has_devices_are_refused(data: Path, cluster: Any, tmp_path: Path) -> None:
    section = TUNING.model_copy(update={"micro_batch": 1})
    wide = on(cluster).model_copy(update={"nodes": 4})
    with pytest.raises(ConfigError, match=r"has (2|3) CPUs for 4 training processes"):
        trained(planned(data, tmp_path, wide, sft=section), Reports())
