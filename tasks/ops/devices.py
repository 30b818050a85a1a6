"""The devices that models would run on here, and their memory.

GPUs are asked in a process of their own: this one then neither imports torch nor keeps a context on them.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from configs.schema import Settings

DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, and either below Windows
PROBE = """
import json, torch
found = []
for at in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
    free, total = torch.cuda.mem_get_info(at)
    found.append([torch.cuda.get_device_name(at), total, free])
print(json.dumps(found))
"""
PROBE_S = 120.0
NO_LIMIT = 2**60  # control groups without a limit report a number near 2**63


@dataclass(frozen=True)
class Device:
    """One GPU, or the CPU with its machine's memory. Bytes; `free` is what nobody uses at this moment."""

    kind: str
    name: str
    total: int
    free: int

    def __str__(self) -> str:
        """As it is named to people."""
        return f"{self.name} ({self.total / 2**30:.1f} GiB)"


def devices_for(settings: Settings) -> list[Device]:
    """A device for each training process of these settings on a node, or as many as there are.

    Processes on a CPU share its memory. Empty where `runtime.device` is cuda and there is no GPU.
    """
    processes = settings.runtime.distributed.processes
    if settings.runtime.device != "cpu" and (found := gpus()):
        return list(found[:processes])
    if settings.runtime.device == "cuda":
        return []
    total, free = host_memory()
    return [Device("cpu", "the CPU's memory", total // processes, free // processes)] * processes


@cache
def gpus() -> tuple[Device, ...]:
    """The GPUs that torch sees; none without a driver's device file, which takes no time."""
    if not any(Path(name).exists() for name in DRIVERS):
        return ()
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_S, check=True
        )
        found = json.loads(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError):
        return ()  # a driver without devices, or torch without this driver: models run on the CPU then
    return tuple(Device("cuda", name, total, free) for name, total, free in found)


def host_memory(root: Path = Path("/")) -> tuple[int, int]:
    """This machine's memory and what of it is free, in bytes; less where a control group limits this process."""
    now = psutil.virtual_memory()
    total, free = int(now.total), int(now.available)
    for limit, used in _limits(root):
        total, free = min(total, limit), min(free, max(0, limit - used))
    return total, free


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) of each control group that this process is in, of version 2 and 1, whichever is mounted."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            base, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = base / path.lstrip("/")
        # Within a container its own group is mounted as the root.
        for folder in (base, *(one for one in (group, *group.parents) if one.is_relative_to(base) and one != base)):
            with contextlib.suppress(OSError, ValueError):
                limit = int((folder / names[0]).read_text())  # "max" is no number
                if limit < NO_LIMIT:
                    yield limit, int((folder / names[1]).read_text())
