"""Child processes: a stage's work runs in a process group of its own that can be ended as a whole.

This is the parent's side; the child's is tasks/pipeline/child.py. The child reports over a channel of its own
(tasks/pipeline/watching.py); what it prints, it or a library, is a log that is kept.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import psutil

import models.errors as errors
from configs.schema import Settings
from models.errors import OutOfMemory, StageFailed, StageKilled, StageStalled, ThinkrewardError
from tasks.pipeline.child import Done, Job, memory_of
from tasks.pipeline.graph import REPOSITORY
from tasks.pipeline.watching import EVENTS, LOG, EventReader, Pulse, descendants, last_lines, write_stacks

logger = logging.getLogger(__name__)
GRACE_S = 10.0
# glibc gives large blocks back and asks for them again, page by page, at each step of training (a tenth of the time on
# two cores): kept instead. See mallopt(3).
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
POLL_S = 0.1
LOG_BYTES = 32 << 20  # a longer log is put aside when the next attempt starts
LOG_DAYS = 30  # a log that nothing was written to for so long is removed


def run_child(
    job: Job,
    *,
    timeout_s: float,
    watch_progress: Callable[[int, int, str], None],
    log: Callable[[str], None],
) -> Done:
    """Run a stage's body in a child process group and wait for it.

    `watch_progress` receives (done, total, what), `log` each line that the body reports. Raises the child's own named
    error, `StageStalled` if it made no progress for `runtime.stall_timeout_s`, or `StageFailed` with the last lines it
    printed. On any exception, Ctrl-C included, the whole group is ended first.
    """
    with tempfile.TemporaryDirectory(prefix="thinkreward-") as scratch, _open_log(job) as output:
        begin = output.tell()
        channel = EventReader(Path(scratch) / "events")
        process = _start(job, Path(scratch), output)
        timed_out, killed_before = threading.Event(), _killed_for_memory()
        timer = _end_after(timeout_s, process, timed_out)
        received = Received(watch_progress, log)
        try:
            pulse = Pulse(process.pid, job.settings.runtime.stall_timeout_s)
            stalled = _follow(process, channel, received, pulse)
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
        limit_s = timeout_s if timed_out.is_set() else None
        starved = _killed_for_memory() > killed_before
        return _outcome(job, received, Ended(code, Path(output.name), begin, stalled, limit_s, starved))


def _end_after(timeout_s: float, process: "subprocess.Popen[bytes]", timed_out: threading.Event) -> threading.Timer:
    def end() -> None:
        timed_out.set()
        _end_group(process)

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    return timer


def _start(job: Job, scratch: Path, output: BinaryIO) -> "subprocess.Popen[bytes]":
    request = scratch / "job.json"
    request.write_text(job.model_dump_json())
    own = {EVENTS: str(scratch / "events"), LOG: output.name}
    return subprocess.Popen(
        [sys.executable, "-m", "tasks.pipeline.child", str(request)],
        cwd=os.getcwd(),
        env={**_environment(job.settings), **own},
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


@dataclass(frozen=True)
class Ended:
    """How a child's process ended: its exit code, and its log from the byte `begin` on.

    `stalled` describes how it stalled, `limit_s` is the limit in seconds that it passed, `starved` whether the kernel
    killed a process for memory meanwhile.
    """

    code: int
    log: Path
    begin: int
    stalled: str
    limit_s: float | None
    starved: bool


def _outcome(job: Job, received: "Received", ended: Ended) -> Done:
    """The result that the child delivered; raises what it failed with."""
    if received.done is not None and received.failure is None:
        if ended.code:  # after its last report: everything that it made is in the store
            logger.warning(
                "%s delivered its result, then ended with %s: see %s", job.stage, _ending(ended.code), ended.log
            )
        return received.done
    if ended.limit_s is not None:
        raise StageFailed(
            f"{job.stage} passed its limit of {ended.limit_s:g} s and was ended: raise runtime.stage_timeout_s"
        )
    printed = f"{last_lines(ended.log, ended.begin)}\nIts whole log: {ended.log}"
    if ended.stalled:
        raise StageStalled(
            f"{job.stage}'s process made no progress and was ended: it {ended.stalled} (runtime.stall_timeout_s is "
            f"{job.settings.runtime.stall_timeout_s:g}); its last words:\n{printed}"
        )
    if received.failure is not None:
        raise _as_error(received.failure, str(ended.log))
    raise _without_report(job.stage, ended.code, printed, starved=ended.starved)


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


class Received:
    """What a child reported: events for whoever watches are passed on, its result or failure is kept."""

    def __init__(self, progress: Callable[[int, int, str], None], log: Callable[[str], None]) -> None:
        self._progress, self._log = progress, log
        self.done: Done | None = None
        self.failure: dict[str, str] | None = None

    def take(self, event: dict[str, Any]) -> None:
        """One event."""
        if "progress" in event:
            self._progress(*event["progress"])
        elif "log" in event:
            self._log(event["log"])
        elif "done" in event:
            self.done = Done.model_validate(event["done"])
        elif "failed" in event:
            self.failure = event["failed"]


def _follow(process: "subprocess.Popen[bytes]", channel: EventReader, received: Received, pulse: Pulse) -> str:
    """Receive what the child reports until it has ended, or stalled: how, in words."""
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
            received.take(event)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Ask the group to end, then make it; also a training's processes, which torchrun starts in groups of their own."""
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
    """How many processes of this control group the kernel has killed as out of memory; 0 where it is not known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        group = Path("/proc/self/cgroup").read_text().split("0::")[1].split("\n")[0]
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text().split()
        return int(events[events.index("oom_kill") + 1])
    return 0


def _without_report(stage: str, code: int, printed: str, *, starved: bool = False) -> StageFailed:
    """The error of a child that could not report one."""
    if starved:
        return OutOfMemory(f"{stage} was killed: out of memory: lower {memory_of(stage)}; its last words:\n{printed}")
    if code == -signal.SIGKILL:
        return StageKilled(
            f"{stage}'s process was killed (signal SIGKILL): preempted or, if it happens again, out of memory, and "
            f"then lower {memory_of(stage)}; its last words:\n{printed}"
        )
    if code == -signal.SIGTERM:
        return StageKilled(f"{stage}'s process was ended from outside (signal SIGTERM); its last words:\n{printed}")
    return StageFailed(f"{stage}'s process ended with {_ending(code)}; its last words:\n{printed}")


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _as_error(failure: dict[str, str], log: str) -> ThinkrewardError:
    """The child's error under its own name, if the tree has it; of others with where they arose, and the log."""
    kind = getattr(errors, failure["kind"], None)
    if isinstance(kind, type) and issubclass(kind, ThinkrewardError) and kind is not errors.MediaError:
        return kind(failure["message"])
    trace = failure.get("trace", "").rstrip()
    return StageFailed(f"{failure['kind']}: {failure['message']}\n{trace}\nIts whole log: {log}")
