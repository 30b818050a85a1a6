"""Child processes: a stage's work runs in a process group of its own that can be ended as a whole.

The child reports over a channel of its own (tasks/pipeline/watching.py); what it prints, it or a library, is a log that
is kept. It ends by itself when its parent is gone, however that went: it holds the other end of the parent's pipe and
leaves when that closes.
"""

import contextlib
import faulthandler
import importlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import psutil
from pydantic import BaseModel, ConfigDict

import models.errors as errors
from configs.schema import Settings
from models.errors import OutOfMemory, StageFailed, StageKilled, StageStalled, ThinkrewardError
from tasks.pipeline.graph import REPOSITORY, STAGES, Stage
from tasks.pipeline.lifeline import die_with_starting_thread, leave_with_parent
from tasks.pipeline.watching import EVENTS, LOG, EventReader, EventWriter, Pulse, descendants, last_lines, write_stacks
from tasks.store.artifacts import ArtifactRef

log = logging.getLogger(__name__)
GRACE_S = 10.0
# glibc gives large blocks back and asks for them again, page by page, at each step of training (a tenth of the time on
# two cores): kept instead. See mallopt(3).
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
POLL_S = 0.1
HEARTBEAT_S = 10.0
LOG_BYTES = 32 << 20  # a longer log is put aside when the next attempt starts
LOG_DAYS = 30  # a log that nothing was written to for so long is removed


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

    Raises the child's own named error, `StageStalled` if it made no progress for `runtime.stall_timeout_s`, or
    `StageFailed` with the last lines it printed. On any exception, Ctrl-C included, the whole group is ended first.
    """
    with tempfile.TemporaryDirectory(prefix="thinkreward-") as scratch, _open_log(job) as output:
        begin = output.tell()
        request = Path(scratch) / "job.json"
        request.write_text(job.model_dump_json())
        channel = EventReader(Path(scratch) / "events")
        own = {EVENTS: str(Path(scratch) / "events"), LOG: output.name}
        process = subprocess.Popen(
            [*_command(job.settings), str(request)],
            cwd=os.getcwd(),
            env={**_environment(job.settings), **own},
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        timed_out, killed_before = threading.Event(), _killed_for_memory()

        def end() -> None:
            timed_out.set()
            _end_group(process)

        timer = threading.Timer(timeout_s, end)
        timer.daemon = True
        timer.start()
        heard = Heard(watch_progress, say)
        stalled = ""
        try:
            stalled = _follow(process, channel, heard, Pulse(process.pid, job.settings.runtime.stall_timeout_s))
            if stalled:
                write_stacks(process.pid)
                _end_group(process)
            code = process.wait()
        finally:
            timer.cancel()
            _end_group(process)
            channel.close()
            if process.stdin is not None:
                process.stdin.close()
        if heard.done is not None and heard.failure is None:
            if code:  # after its last word: everything that it made is in the store
                log.warning(
                    "%s delivered its result, then ended with %s: see %s", job.stage, _ending(code), output.name
                )
            return heard.done
        if timed_out.is_set():
            raise StageFailed(
                f"{job.stage} passed its limit of {timeout_s:g} s and was ended: raise runtime.stage_timeout_s"
            )
        words = f"{last_lines(Path(output.name), begin)}\nIts whole log: {output.name}"
        if stalled:
            raise StageStalled(
                f"{job.stage}'s process made no progress and was ended: it {stalled} (runtime.stall_timeout_s is "
                f"{job.settings.runtime.stall_timeout_s:g}); its last words:\n{words}"
            )
        if heard.failure is not None:
            raise _as_error(heard.failure, output.name)
        raise _without_a_word(job.stage, code, words, starved=_killed_for_memory() > killed_before)


def log_file(job: Job) -> Path:
    """What the stage's processes print, all attempts on this machine one after the other."""
    return Path(job.settings.storage.cache_dir).absolute() / "logs" / f"{job.stage}-{job.key[:16]}.log"


def _open_log(job: Job) -> "BinaryIO":
    """The stage's log, to be appended to; one that has become too long is put aside, and those long unused go."""
    path = log_file(job)
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # removed by another run meanwhile
            if old.stat().st_mtime < time.time() - LOG_DAYS * 86400:
                old.unlink()
    if path.is_file() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(".old.log"))
    file = open(path, "ab", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
    file.write(f"--- {job.stage} {job.key[:16]}, {datetime.now(UTC).isoformat(timespec='seconds')}\n".encode())
    return cast("BinaryIO", file)


def _command(settings: Settings) -> list[str]:
    if settings.runtime.processes == 1:
        return [sys.executable, "-m", "tasks.pipeline.launch"]
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={settings.runtime.processes}",
        "-m",
        "tasks.pipeline.launch",
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


class Heard:
    """What a child reported: events that are for whoever watches are passed on, its last word is kept."""

    def __init__(self, progress: Callable[[int, int, str], None], say: Callable[[str], None]) -> None:
        self._progress, self._say = progress, say
        self.done: Done | None = None
        self.failure: dict[str, str] | None = None

    def take(self, event: dict[str, Any]) -> None:
        """One event."""
        if "progress" in event:
            self._progress(*event["progress"])
        elif "say" in event:
            self._say(event["say"])
        elif "done" in event:
            self.done = Done.model_validate(event["done"])
        elif "failed" in event:
            self.failure = event["failed"]


def _follow(process: "subprocess.Popen[bytes]", channel: EventReader, heard: Heard, pulse: Pulse) -> str:
    """Hear what the child reports until it has ended, or stalled: how, in words."""
    while True:
        ended = process.poll() is not None
        events = channel.read(0 if ended else POLL_S)
        if events is None:
            if ended:
                return ""
            if stalled := pulse.stalled():
                return stalled
            continue
        pulse.beat()
        for event in events:
            heard.take(event)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Ask the group to end, then make it; also ranks, which torchrun starts in groups of their own."""
    below = descendants(process.pid)
    for how, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        if process.poll() is not None and how is signal.SIGTERM:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
            os.killpg(process.pid, signal.SIGCONT)  # a stopped process takes no signal but this one and SIGKILL
        deadline = time.monotonic() + wait_s
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # grandchildren
    for one in below:
        with contextlib.suppress(psutil.Error):
            one.kill()


def _killed_for_memory() -> int:
    """How many processes of this control group the kernel has killed as out of memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        group = Path("/proc/self/cgroup").read_text().split("0::")[1].split("\n")[0]
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text().split()
        return int(events[events.index("oom_kill") + 1])
    return 0


def _without_a_word(stage: str, code: int, said: str, *, starved: bool = False) -> StageFailed:
    """The error of a child that could not report one."""
    if starved:
        return OutOfMemory(f"{stage} was killed: out of memory: lower {memory_of(stage)}; its last words:\n{said}")
    if code == -signal.SIGKILL:
        return StageKilled(
            f"{stage}'s process was killed (signal SIGKILL): preempted or, if it happens again, out of memory, and "
            f"then lower {memory_of(stage)}; its last words:\n{said}"
        )
    if code == -signal.SIGTERM:
        return StageKilled(f"{stage}'s process was told to end (signal SIGTERM); its last words:\n{said}")
    return StageFailed(f"{stage}'s process ended with {_ending(code)}; its last words:\n{said}")


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


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


def _as_error(failure: dict[str, str], log: str) -> ThinkrewardError:
    """The child's error under its own name, if the tree has it; of others with where they arose, and the log."""
    kind = getattr(errors, failure["kind"], None)
    if isinstance(kind, type) and issubclass(kind, ThinkrewardError) and kind is not errors.MediaError:
        return kind(failure["message"])
    trace = failure.get("trace", "").rstrip()
    return StageFailed(f"{failure['kind']}: {failure['message']}\n{trace}\nIts whole log: {log}")


class Child:
    """The child's side: where a body reports to."""

    def __init__(self) -> None:
        self._last = 0.0
        self._writer = EventWriter(os.environ[EVENTS]) if EVENTS in os.environ else None
        self.log = Path(os.environ[LOG]) if LOG in os.environ else None

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


@contextlib.contextmanager
def _one_temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="thinkreward-stage-") as folder:
        yield Path(folder)


def main() -> int:
    """Entry of the child process: run the job's body, report, and leave."""
    import traceback

    logging.basicConfig(level=logging.INFO)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # asked for when this process has stalled
    rank = int(os.environ.get("RANK", "0"))
    leave_with_parent()  # torchrun hands its standard input on to its ranks
    die_with_starting_thread()  # which waits for this process, in `run_child` as in torchrun
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
    # Run as `-m tasks.pipeline.launch`, this file is `__main__`; bodies import it by its own name.
    from tasks.pipeline.launch import main as run

    sys.exit(run())
