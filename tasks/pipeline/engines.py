"""The command line of each engine, and whether an engine can be had here."""

import importlib.util
import os
import socket
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from configs.schema import Distributed, Settings
from models.errors import ConfigError
from models.training.presets import NOT_SHARDED
from tasks.pipeline.graph import TRAINED

WORKER = "models.training.worker"
REACH_S = 5.0


def engine_command(distributed: Distributed, folder: Path) -> list[str]:
    """What starts a training's processes for the plan in `folder`, of several nodes of torchrun those of this one."""
    if distributed.engine == "ray":
        return [sys.executable, "-m", "tasks.training.ray_driver", str(folder)]
    return torchrun_command(
        folder,
        nodes=distributed.nodes,
        processes=distributed.processes,
        rendezvous=distributed.rendezvous,
        restarts=distributed.restarts,
    )


def torchrun_command(folder: Path, *, nodes: int, processes: int, rendezvous: str, restarts: int) -> list[str]:
    """PyTorch's elastic launcher on one node; nodes that have the same folder form one training."""
    place = ["--standalone"]
    if nodes > 1:
        place = ["--rdzv-backend=c10d", f"--rdzv-endpoint={rendezvous}", f"--rdzv-id={folder.name}"]
    return [
        *(sys.executable, "-m", "tasks.training.agent"),
        *place,
        f"--nnodes={nodes}",
        f"--nproc-per-node={processes}",
        f"--max-restarts={restarts}",
        f"--log-dir={folder / 'torchrun' / socket.gethostname()}-{os.getpid()}",
        *("-m", WORKER, str(folder)),
    ]


def check_engine(settings: Settings, stages: Iterable[str]) -> None:
    """Before any work of these stages, where they train.

    Raises `ConfigError`, with the cure, for an engine or a strategy that they or this machine cannot have.
    """
    distributed = settings.runtime.distributed
    trained = [name for name in stages if name in TRAINED]
    if not trained:
        return
    if "grpo" in trained:
        _check_optimisation(settings)
    if distributed.strategy == "deepspeed":
        _check_installed("deepspeed", "strategy=deepspeed", "`pip install deepspeed`, or set strategy=fsdp2")
    if distributed.engine == "ray":
        cure = "`pip install -c constraints.txt 'thinkreward[ray]'`, or set engine=torchrun"
        _check_installed("ray", "engine=ray", cure)
        _check_reachable(distributed.address)
    if distributed.engine == "torchrun":
        _check_cores(settings)


def _check_optimisation(settings: Settings) -> None:
    """What policy optimisation does in one process alone; its trainer would refuse it too, with the model loaded."""
    distributed, grpo = settings.runtime.distributed, settings.grpo
    if distributed.strategy != "ddp":
        raise ConfigError(NOT_SHARDED.format(distributed.strategy))
    if grpo.refill and distributed.world > 1:
        raise ConfigError(
            f"grpo.refill={grpo.refill} samples further prompts in one process, and runtime.distributed starts "
            f"{distributed.world}: set grpo.refill=0, or runtime.distributed.engine=none for grpo"
        )


def _check_installed(package: str, setting: str, cure: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"runtime.distributed.{setting} needs the package {package}, which this environment lacks: {cure}"
        )


def _check_reachable(address: str) -> None:
    """Ray itself takes half a minute to say that nobody listens."""
    place = address.rpartition("://")[2]
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        if place not in ("auto", "local"):
            raise ConfigError(f"runtime.distributed.address {address!r} is no address: give head:6379, or auto")
        return
    try:
        with closing(socket.create_connection((host, int(port)), timeout=REACH_S)):
            pass
    except OSError as error:
        raise ConfigError(
            f"no Ray cluster answers at runtime.distributed.address {address} ({error}): start one with "
            "`ray start --head --port=6379`, or give the address of one that runs"
        ) from error


def _check_cores(settings: Settings) -> None:
    """On a CPU: each process needs a core at least."""
    processes, cores = settings.runtime.distributed.processes, len(os.sched_getaffinity(0))
    if settings.runtime.device == "cpu" and processes > cores:
        raise ConfigError(
            f"{processes} training processes share {cores} cores of {socket.gethostname()}: set "
            f"runtime.distributed.processes to {cores} at most"
        )
