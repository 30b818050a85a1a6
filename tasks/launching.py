"""Child processes: a stage's work runs in a process group of its own that can be ended as a whole.

The child reports over a pipe, one JSON object a line, and ends by itself when its parent is gone, however
that went: it holds the other end of the parent's pipe and leaves when that closes.
"""

import contextlib
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

import models.errors as errors
from configs.schema import Settings
from models.errors import OutOfMemory, StageFailed, StageKilled, ThinkrewardError
from tasks.artifacts import ArtifactRef
from tasks.graph import REPOSITORY, STAGES, Stage

log = logging.getLogger(__name__)
GRACE_S = 10.0
# glibc gives large blocks back and asks for them anew, page by page, at each step of training (a tenth of the time on
# two cores): kept instead. See mallopt(3).
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
EVENT = "\x1ethinkreward "  # starts a report line; all else a child prints is its log
TAIL_LINES = 30


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


def run_child(
    job: Job,
    *,
    timeout_s: float,
    watch_progress: Callable[[int, int, str], None],
    say: Callable[[str], None],
) -> Done:
    """Run a stage's body in a child process group and wait for it.

    Raises the child's own named error, or `StageFailed` with the last lines it printed. On any exception
    here, Ctrl-C included, the whole group is ended first.
    """
    with tempfile.TemporaryDirectory(prefix="thinkreward-") as scratch:
        request = Path(scratch) / "job.json"
        request.write_text(job.model_dump_json())
        process = subprocess.Popen(
            [*_command(job.settings), str(request)],
            cwd=os.getcwd(),
            env=_environment(job.settings),
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        timed_out, killed_before = threading.Event(), _killed_for_memory()

        def end() -> None:
            timed_out.set()
            _end_group(process)

        timer = threading.Timer(timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            done, failure, tail = _follow(process, watch_progress, say)
            code = process.wait()
        finally:
            timer.cancel()
            _end_group(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if done is not None and code == 0:
            return done
        if timed_out.is_set():
            raise StageFailed(
                f"{job.stage} passed its limit of {timeout_s:g} s and was ended: raise runtime.stage_timeout_s"
            )
        if failure is not None:
            raise _as_error(failure)
        raise _without_a_word(job.stage, code, "\n".join(tail), starved=_killed_for_memory() > killed_before)


def _command(settings: Settings) -> list[str]:
    if settings.runtime.processes == 1:
        return [sys.executable, "-m", "tasks.launching"]
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={settings.runtime.processes}",
        "-m",
        "tasks.launching",
    ]


def _environment(settings: Settings) -> dict[str, str]:
    threads = str(settings.runtime.threads)
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    quiet = {
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "PYTHONWARNINGS": "ignore",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
    own = {"PYTHONPATH": path, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    return {**MEMORY, **os.environ, **quiet, **own}


def _follow(
    process: "subprocess.Popen[str]", progress: Callable[[int, int, str], None], say: Callable[[str], None]
) -> tuple[Done | None, dict[str, str] | None, "deque[str]"]:
    done: Done | None = None
    failure: dict[str, str] | None = None
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    assert process.stdout is not None
    for line in process.stdout:
        if not line.startswith(EVENT):
            tail.append(line.rstrip())
            log.debug("%s", line.rstrip())
            continue
        event = json.loads(line[len(EVENT) :])
        if "progress" in event:
            progress(*event["progress"])
        elif "say" in event:
            say(event["say"])
        elif "done" in event:
            done = Done.model_validate(event["done"])
        elif "failed" in event:
            failure = event["failed"]
    return done, failure, tail


def _end_group(process: "subprocess.Popen[str]") -> None:
    """Ask the group to end, then make it; also ranks, which torchrun starts in groups of their own."""
    below = _descendants(process.pid)
    for how, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        if process.poll() is not None and how is signal.SIGTERM:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        deadline = time.monotonic() + wait_s
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # grandchildren
    for one in below:
        with contextlib.suppress(psutil.Error):
            one.kill()


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return list(psutil.Process(pid).children(recursive=True))
    return []


def _killed_for_memory() -> int:
    """How many processes of this control group the kernel has killed for want of memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        group = Path("/proc/self/cgroup").read_text().split("0::")[1].split("\n")[0]
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text().split()
        return int(events[events.index("oom_kill") + 1])
    return 0


def _without_a_word(stage: str, code: int, said: str, *, starved: bool = False) -> StageFailed:
    """The error of a child that could not report one."""
    if starved:
        return OutOfMemory(f"{stage} was killed for want of memory: lower {memory_of(stage)}; its last words:\n{said}")
    if code == -signal.SIGKILL:
        return StageKilled(
            f"{stage}'s process was killed (signal SIGKILL): preempted or, if it happens again, out of memory, and "
            f"then lower {memory_of(stage)}; its last words:\n{said}"
        )
    if code == -signal.SIGTERM:
        return StageKilled(f"{stage}'s process was told to end (signal SIGTERM); its last words:\n{said}")
    ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    return StageFailed(f"{stage}'s process ended with {ending}; its last words:\n{said}")


def memory_of(stage: str) -> str:
    """The settings to lower when a stage runs out of memory."""
    return STAGES[stage].memory if stage in STAGES else Stage.memory


def _out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory; told by name and words, since torch may not be loaded."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _as_error(failure: dict[str, str]) -> ThinkrewardError:
    """The child's error under its own name, if the tree has it."""
    kind = getattr(errors, failure["kind"], None)
    if isinstance(kind, type) and issubclass(kind, ThinkrewardError) and kind is not errors.MediaError:
        return kind(failure["message"])
    return StageFailed(f"{failure['kind']}: {failure['message']}\n{failure.get('trace', '')}".rstrip())


class Child:
    """The child's side: where a body reports to."""

    def __init__(self) -> None:
        self._last = 0.0

    def _emit(self, event: dict[str, Any]) -> None:
        sys.stdout.write(EVENT + json.dumps(event) + "\n")
        sys.stdout.flush()

    def progress(self, done: int, total: int, what: str = "") -> None:
        """Report progress, at most five times a second and always at the end."""
        now = time.monotonic()
        if done >= total or now - self._last > 0.2:
            self._last = now
            self._emit({"progress": [done, total, what]})

    def say(self, line: str) -> None:
        """One line for whoever watches."""
        self._emit({"say": line})

    def done(self, done: Done) -> None:
        """The stage's result."""
        self._emit({"done": done.model_dump(mode="json")})

    def failed(self, error: BaseException, trace: str) -> None:
        """The stage's error by name."""
        self._emit({"failed": {"kind": type(error).__name__, "message": str(error), "trace": trace}})


def named(function: str) -> Callable[..., Any]:
    """The function that `module:name` means."""
    module, name = function.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _leave_with_parent() -> None:
    """End this process when the parent's end of our standard input closes."""

    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(0, 4096):
                pass
        os._exit(143)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def _one_temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="thinkreward-stage-") as folder:
        yield Path(folder)


def main() -> int:
    """Entry of the child process: run the job's body, report, and leave."""
    import traceback

    logging.basicConfig(level=logging.INFO)
    rank = int(os.environ.get("RANK", "0"))
    _leave_with_parent()  # torchrun hands its standard input on to its ranks
    job = Job.model_validate_json(Path(sys.argv[1]).read_text())
    child = Child()
    try:
        with _one_temporary_folder() as scratch:
            done: Done = named(job.body)(job, child, scratch)
    except ThinkrewardError as error:
        child.failed(error, "")
        return 1
    except Exception as error:  # noqa: BLE001  (whatever a body raises is the parent's to tell)
        if _out_of_memory(error):
            first = (str(error).strip() or "the machine has no more").split("\n")[0]
            child.failed(OutOfMemory(f"{job.stage} ran out of memory ({first}): lower {memory_of(job.stage)}"), "")
        else:
            child.failed(error, traceback.format_exc(limit=-6))
        return 1
    if rank == 0:
        child.done(done)
    return 0


if __name__ == "__main__":
    # Run as `-m tasks.launching`, this file is `__main__`; bodies import it by its own name.
    from tasks.launching import main as run

    sys.exit(run())
