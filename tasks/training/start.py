"""Train as planned: in the stage's own process, or in processes that an engine starts and this one follows.

The stage's process alone reaches the store, MLflow and the teacher. A process that dies is the engine's to replace: all
start again from the newest checkpoint. What cannot be mended so ends the training here, with all its processes.
"""

import contextlib
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

import models.errors as errors
from models.errors import OutOfMemory, StageFailed, StageKilled, ThinkrewardError
from models.training.hooks import Hooks
from models.training.worker.events import Follower
from models.training.worker.plan import Examples, TrainingPlan
from tasks.pipeline.child import Job, memory_of
from tasks.pipeline.engines import engine_command
from tasks.pipeline.watching import descendants

POLL_S = 0.1
GRACE_S = 10.0
TRAINING = "training"  # the folder of trainings that several machines see, below storage.cache_dir


def train(
    folder: Path,
    plan: TrainingPlan,
    examples: Examples,
    hooks: Hooks,
    *,
    trainer: Callable[[TrainingPlan, Examples, Hooks], dict[str, Any]],
    stage: str,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Train as planned; returns what the trainer does, and calls `hooks` in this process.

    `folder` is a new one (`training_folder`), `trainer` what trains in this process where no engine is set, and `log`
    takes lines for people. Raises what a process raised by name, `OutOfMemory`, and `StageKilled` where processes were
    killed more often than they are started again.
    """
    distributed = plan.runtime.distributed
    if distributed.engine == "none":  # another process would load the same libraries again: 6 s of a core a stage
        return trainer(plan, examples, hooks)
    examples.write(folder)
    plan.write(folder)  # last, since other nodes begin with it
    follower = Follower(folder, hooks, log)
    process = subprocess.Popen(engine_command(distributed, folder), stdin=subprocess.PIPE)
    try:
        while process.poll() is None and follower.failure(final=True) is None:
            if not follower.take():
                time.sleep(POLL_S)
    finally:
        _end(process)
    follower.take()
    if not follower.done:
        raise _failure(stage, follower, process.returncode)
    return follower.result()


@contextlib.contextmanager
def training_folder(job: Job, scratch: Path) -> Iterator[Path]:
    """A folder for one training, gone afterwards: in `scratch`, or below the cache if other machines are to see it.

    What an attempt that was killed left there of this key goes too.
    """
    distributed = job.settings.runtime.distributed
    shared = distributed.engine == "ray" or distributed.nodes > 1
    place = Path(job.settings.storage.cache_dir).absolute() / TRAINING if shared else scratch
    name = f"{job.stage}-{job.key[:16]}"
    for left in place.glob(f"{name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = place / f"{name}-{uuid.uuid4().hex[:8]}"
    (folder / "trainer").mkdir(parents=True)
    (folder / "model").mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End an engine and all that it started here; Ray ends what it started elsewhere when its driver is gone."""
    below = descendants(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    for one in below:
        with contextlib.suppress(psutil.Error):
            one.kill()
    process.kill()
    process.wait()


def _failure(stage: str, follower: Follower, code: int) -> ThinkrewardError:
    """The error of a training that has no result."""
    found = follower.failure(final=True) or follower.failure(final=False)
    times = f"{follower.attempts} times" if follower.attempts != 1 else "once"
    if found is None:
        return StageKilled(
            f"a process of {stage}'s training was killed; all were started {times} (runtime.distributed.restarts), and "
            f"the engine ended with exit status {code}: preempted, or out of memory, and then lower {memory_of(stage)}"
        )
    if found["memory"]:
        first = (found["message"].strip() or "the machine has no more").split("\n")[0]
        return OutOfMemory(f"{stage} ran out of memory in process {found['rank']} ({first}): lower {memory_of(stage)}")
    kind = getattr(errors, found["kind"], None)
    if found["final"] and isinstance(kind, type) and kind is not errors.MediaError:
        named: ThinkrewardError = kind(found["message"])
        return named
    return StageFailed(
        f"process {found['rank']} of {stage}'s training failed, started {times}: {found['kind']}: {found['message']}\n"
        f"{found['trace'].rstrip()}"
    )
