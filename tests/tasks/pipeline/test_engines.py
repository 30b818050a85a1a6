"""Engines that cannot be had are refused before any work, with the cure."""

import socket
from pathlib import Path

import pytest

from configs.load import load_settings
from models.errors import ConfigError
from tasks.pipeline.engines import check_engine, engine_command

SMALL = [f"{name}.micro_batch=8" for name in ("cold_start", "rejection_sampling.sft", "grpo")]


def check(*overrides: str, stages: tuple[str, ...] = ("cold-start",), also: tuple[str, ...] = ()) -> None:
    settings = load_settings("shapes", [*SMALL, *also, *(f"runtime.{one}" for one in overrides)])
    check_engine(settings, stages)


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))


def test_an_engine_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without("ray", monkeypatch)
    with pytest.raises(ConfigError, match=r"engine=ray needs the package ray.*pip install.*thinkreward\[ray\]"):
        check("distributed.engine=ray")
    check("distributed.engine=ray", stages=("prepare", "evaluate"))


def test_so_does_a_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    without("deepspeed", monkeypatch)
    with pytest.raises(ConfigError, match=r"strategy=deepspeed needs the package deepspeed.*strategy=fsdp2"):
        check("distributed.engine=torchrun", "distributed.strategy=deepspeed")


def test_a_cluster_that_does_not_answer_is_refused_in_no_time() -> None:
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"no Ray cluster answers at .*127.0.0.1:{port}.*ray start --head"):
        check("distributed.engine=ray", f"distributed.address=127.0.0.1:{port}")
    with pytest.raises(ConfigError, match=r"'head' is no address: give head:6379, or auto"):
        check("distributed.engine=ray", "distributed.address=head")


def test_more_processes_than_cores_are_refused_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    check("distributed.engine=torchrun", "distributed.processes=2", "device=cpu")
    with pytest.raises(ConfigError, match=r"4 training processes share 2 cores.*processes to 2 at most"):
        check("distributed.engine=torchrun", "distributed.processes=4", "device=cpu")


def test_policy_optimisation_is_refused_sharded_before_any_work() -> None:
    sharded = ("distributed.engine=torchrun", "distributed.strategy=fsdp2")
    check(*sharded)
    with pytest.raises(ConfigError, match="strategy=fsdp2 is for fine-tuning"):
        check(*sharded, stages=("cold-start", "grpo"))


def test_so_is_refilling_by_several_processes() -> None:
    two, refilled = ("distributed.engine=torchrun", "distributed.processes=2"), ("grpo.refill=2",)
    check(*two, stages=("cold-start",), also=refilled)
    check("distributed.engine=torchrun", stages=("grpo",), also=refilled)
    with pytest.raises(ConfigError, match=r"grpo\.refill=2 .* starts 2: set grpo\.refill=0"):
        check(*two, stages=("grpo",), also=refilled)


def test_nodes_meet_at_the_rendezvous_under_the_name_of_the_training(tmp_path: Path) -> None:
    wide = ["distributed.engine=torchrun", "distributed.nodes=2", "distributed.rendezvous=node-0:29500"]
    settings = load_settings("shapes", [*SMALL, *(f"runtime.{one}" for one in wide)])
    command = engine_command(settings.runtime.distributed, tmp_path / "cold-start-1")
    assert {"--nnodes=2", "--rdzv-endpoint=node-0:29500", "--rdzv-id=cold-start-1"} <= {*command}
    assert "--standalone" not in command
