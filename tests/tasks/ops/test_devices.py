"""The memory of this machine, less where a control group limits it."""

from pathlib import Path

import psutil
import pytest

from configs.load import load_settings
from tasks.ops.devices import devices_for, gpus, host_memory

MIB = 2**20


def group(root: Path, line: str, files: dict[str, str]) -> Path:
    """A file system with this line in /proc/self/cgroup and these files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"12:cpuset:/elsewhere\n{line}\n")
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/", {"memory.max": f"{64 * MIB}\n", "memory.current": f"{16 * MIB}\n"}),
        ("0::/a/b", {"a/memory.max": f"{64 * MIB}", "a/memory.current": f"{16 * MIB}", "a/b/memory.max": "max"}),
        ("0::/../outside", {"memory.max": f"{64 * MIB}", "memory.current": f"{16 * MIB}"}),
        (
            "4:memory:/docker/1",
            {
                "memory/docker/1/memory.limit_in_bytes": f"{64 * MIB}",
                "memory/docker/1/memory.usage_in_bytes": f"{16 * MIB}",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.usage_in_bytes": "1",
            },
        ),
    ],
)
def test_a_control_group_limits_memory(tmp_path: Path, line: str, files: dict[str, str]) -> None:
    assert host_memory(group(tmp_path, line, files)) == (64 * MIB, 48 * MIB)


@pytest.mark.parametrize("files", [{}, {"memory.max": "max", "memory.current": "1"}, {"memory.max": ""}])
def test_without_a_limit_it_is_the_machines(tmp_path: Path, files: dict[str, str]) -> None:
    assert host_memory(group(tmp_path, "0::/", files))[0] == psutil.virtual_memory().total
    assert host_memory(tmp_path / "no proc here")[0] == psutil.virtual_memory().total


def test_processes_share_the_cpus_memory() -> None:
    halves = [f"{name}.micro_batch=32" for name in ("cold_start", "rejection_sampling.sft", "grpo")]
    one = devices_for(load_settings("shapes", ["runtime.device=cpu"]))
    engine = ["runtime.distributed.engine=torchrun", "runtime.distributed.processes=2"]
    two = devices_for(load_settings("shapes", ["runtime.device=cpu", *engine, *halves]))
    assert [len(one), len(two)] == [1, 2]
    assert two[0].total == two[1].total == one[0].total // 2


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU here")
def test_without_a_gpu_none_is_asked_for() -> None:
    assert devices_for(load_settings("shapes"))[0].kind == "cpu"
    assert devices_for(load_settings("shapes", ["runtime.device=cuda"])) == []
