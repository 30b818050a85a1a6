"""One process of a training: what it does from the plan to the result, whichever engine started it."""

import os
import resource
import socket
import traceback
from pathlib import Path

from models.errors import ConfigError
from models.training.worker.events import Reporter
from models.training.worker.plan import Examples, TrainingPlan, fine_tuned, optimised


def take_part(folder: Path, rank: int) -> BaseException | None:
    """Train as the plan in `folder` says, or resume; returns the error that it failed with, which is reported."""
    plan = TrainingPlan.read(folder)
    reporter = Reporter(folder, rank)
    try:
        check_devices(plan.runtime.device)
        latest = reporter.begin(plan.scratch) or plan.resume_from
        reporter.emit(started=_started(latest))
        plan = plan.model_copy(update={"resume_from": latest})
        facts = (fine_tuned if plan.sft else optimised)(
            plan, Examples.read(folder, completed=plan.sft is not None), reporter.hooks()
        )
        reporter.done({**facts, "peak_memory_mib": _peak_memory_mib()})
    except Exception as error:  # noqa: BLE001  (whatever a training raises is reported to whoever started it)
        reporter.failed(error, traceback.format_exc(limit=-6))
        return error
    return None


def check_devices(device: str) -> None:
    """Raises `ConfigError` where this node has fewer GPUs than processes: two would share one in silence."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "cpu" or here == 1:
        return
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found < here and (found or device == "cuda"):
        raise ConfigError(
            f"{socket.gethostname()} has {found} GPUs for {here} training processes: set runtime.distributed.processes "
            f"to {found or 1}, or runtime.device=cpu"
        )


def _started(resumed: Path | None) -> str:
    world, where = int(os.environ.get("WORLD_SIZE", "1")), socket.gethostname()
    begun = f"resuming from {resumed.name}" if resumed is not None else "from the start"
    return f"training in {world} processes, the first on {where}, {begun}"


def _peak_memory_mib() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
