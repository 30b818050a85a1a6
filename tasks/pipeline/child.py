"""A stage's child process: what it receives, where its body reports to, and its entry point.

It ends by itself when its parent is gone, however that went: the parent holds the other end of its standard input, and
it leaves when that closes. The parent's side is tasks/pipeline/launch.py.
"""

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from configs.schema import Settings
from models.errors import OutOfMemory, ThinkrewardError, is_out_of_memory
from models.lifeline import die_with_starting_thread, leave_with_parent
from tasks.pipeline.graph import STAGES, Stage, named
from tasks.pipeline.watching import EVENTS, LOG, EventWriter
from tasks.store.artifacts import ArtifactRef

HEARTBEAT_S = 10.0


class Job(BaseModel):
    """Everything a stage's child process needs to know; holds no secret."""

    model_config = ConfigDict(frozen=True)

    stage: str
    key: str
    body: str
    settings: Settings
    inputs: dict[str, ArtifactRef]


class Done(BaseModel):
    """What a child hands back."""

    outputs: dict[str, ArtifactRef]
    run_ids: dict[str, str] = {}
    facts: dict[str, Any] = {}


def memory_of(stage: str) -> str:
    """The settings to lower when a stage runs out of memory."""
    return STAGES[stage].memory if stage in STAGES else Stage.memory


class Child:
    """The child's side: where a body reports to."""

    def __init__(self) -> None:
        self._last = 0.0
        self._writer = EventWriter(os.environ[EVENTS]) if EVENTS in os.environ else None
        self.log_file = Path(os.environ[LOG]) if LOG in os.environ else None

    def _emit(self, event: dict[str, Any]) -> None:
        if self._writer is not None:  # else nobody started this process to hear of it
            self._writer.write(event)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While a body waits for somebody else's service, which uses no processor: that is no stall."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT_S):
                self._emit({"alive": True})

        thread = threading.Thread(target=beat, daemon=True, name="waiting")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def progress(self, done: int, total: int, what: str = "") -> None:
        """Report progress, at most five times a second and always at the end."""
        now = time.monotonic()
        if done >= total or now - self._last > 0.2:
            self._last = now
            self._emit({"progress": [done, total, what]})

    def log(self, line: str) -> None:
        """One line for whoever watches."""
        self._emit({"log": line})

    def done(self, done: Done) -> None:
        """The stage's result."""
        self._emit({"done": done.model_dump(mode="json")})

    def failed(self, error: BaseException, trace: str) -> None:
        """The stage's error by name."""
        self._emit({"failed": {"kind": type(error).__name__, "message": str(error), "trace": trace}})


@contextlib.contextmanager
def _one_temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="thinkreward-stage-") as folder:
        yield Path(folder)


def main() -> int:
    """Entry of the child process: run the job's body, report, and leave."""
    logging.basicConfig(level=logging.INFO)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # asked for when this process has stalled
    leave_with_parent()
    die_with_starting_thread()  # which waits for this process, in `run_child`
    job = Job.model_validate_json(Path(sys.argv[1]).read_text())
    child = Child()
    try:
        with _one_temporary_folder() as scratch:
            done: Done = named(job.body)(job, child, scratch)
    except ThinkrewardError as error:
        child.failed(error, "")
        return 1
    except Exception as error:  # noqa: BLE001  (whatever a body raises is the parent's to report)
        if is_out_of_memory(error):
            first = (str(error).strip() or "the machine has no more").split("\n")[0]
            child.failed(OutOfMemory(f"{job.stage} ran out of memory ({first}): lower {memory_of(job.stage)}"), "")
        else:
            child.failed(error, traceback.format_exc(limit=-6))
        return 1
    child.done(done)
    return 0


if __name__ == "__main__":
    # Run as `-m tasks.pipeline.child`, this file is `__main__`; bodies import it by its own name.
    from tasks.pipeline.child import main as run

    sys.exit(run())
