"""What a stage's parent process sees of its child: events over a FIFO of their own, the log's end, signs of life.

Events do not travel over standard output, which belongs to whatever the child loads: a progress bar without a newline,
a C library, or code that closes it. A FIFO, not an inherited descriptor, since torchrun closes those of its ranks.
"""

import contextlib
import fcntl
import json
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

logger = logging.getLogger(__name__)

EVENTS = "THINKREWARD_EVENTS"  # the FIFO's path, in the child's environment
LOG = "THINKREWARD_LOG"  # the path of the file that takes its output
TAIL_LINES, TAIL_BYTES = 30, 65536
# Of a process that works, in a look's time: at least so much of one core, or so many bytes read and written.
BUSY_SHARE, BUSY_BYTES = 0.02, 1 << 20
LOOK_S = 30.0  # between looks, at most
BUSY_TIMES = 12  # a process that computes and reports nothing is given so many times the limit of an idle one
STACKS_S = 0.5  # for the child to write where its threads are


class EventReader:
    """The parent's end of the FIFO at `path`, which it makes."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path, 0o600)
        # For reading and writing: it then never reports the end of a file, whoever opens and closes it.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""

    def read(self, timeout_s: float) -> list[dict[str, Any]] | None:
        """The events that are there, after a wait of at most `timeout_s`; None if there was nothing at all."""
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return None
        *lines, self._rest = (self._rest + os.read(self._fd, 1 << 16)).split(b"\n")
        return list(self._parsed(lines))

    def _parsed(self, lines: list[bytes]) -> Iterator[dict[str, Any]]:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                logger.warning("a stage's process reported what is no event: %.200r", line)
                continue
            if isinstance(event, dict):
                yield event

    def close(self) -> None:
        """Close it; the file itself goes with its folder."""
        os.close(self._fd)


class EventWriter:
    """A child's end. Safe for several threads and, of a training on several devices, several processes."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._lock_fd = os.open(Path(path).parent, os.O_RDONLY | os.O_CLOEXEC)
        self._threads = threading.Lock()

    def write(self, event: dict[str, Any]) -> None:
        """Sends one event whole. Nothing is raised where the parent is gone: this process is about to end with it."""
        data = json.dumps(event).encode() + b"\n"
        with self._threads, contextlib.suppress(BrokenPipeError):
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)  # above 4096 bytes a write may be interleaved with another's
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)


class Pulse:
    """Whether a process group still gets on: it reports, or at least one of its processes computes, reads or writes.

    `stalled()` is asked often and looks seldom. A thread that reported by itself would hide a deadlock, so what counts
    is what the system says the processes used. That alone would not end a kernel that never returns, since waiting for
    a GPU takes a core: without any event there is a longer limit.
    """

    def __init__(self, pid: int, limit_s: float) -> None:
        self._pid = pid
        self._limit_s = limit_s
        self._every_s = min(LOOK_S, limit_s / 10)
        self._used: dict[tuple[int, float], tuple[float, int]] = {}
        self._heard = self._alive = self._looked = time.monotonic()

    def beat(self) -> None:
        """An event came."""
        self._heard = self._alive = time.monotonic()

    def stalled(self) -> str:
        """How it stalled, in words; empty as long as it gets on."""
        now = time.monotonic()
        since = now - self._looked
        if since >= self._every_s:
            if since > 5 * self._every_s:  # this process itself was stopped, or slept: nothing is known of that time
                self.beat()
            self._looked = now
            if self._works(since):
                self._alive = now
        if now - self._alive > self._limit_s:
            return f"reported nothing for {now - self._heard:.0f} s and used no processor for {now - self._alive:.0f} s"
        if now - self._heard > BUSY_TIMES * self._limit_s:
            return f"used a processor but reported nothing for {now - self._heard:.0f} s"
        return ""

    def _works(self, seconds: float) -> bool:
        """Whether a process of the group did anything worth the name since the last look."""
        before, self._used = self._used, {}
        working = False
        for process in descendants(self._pid, itself=True):
            with contextlib.suppress(psutil.Error):
                address = (process.pid, process.create_time())
                self._used[address] = used = _used(process)
                cpu_s, moved = before.get(address, (0.0, 0))
                working |= used[0] - cpu_s >= BUSY_SHARE * seconds or used[1] - moved >= BUSY_BYTES
        return working


def _used(process: psutil.Process) -> tuple[float, int]:
    """Processor seconds and bytes through read and write calls, of a process so far."""
    times = process.cpu_times()
    moved = 0
    with contextlib.suppress(psutil.Error, AttributeError, OSError):  # not told by every system
        counters = process.io_counters()
        moved = getattr(counters, "read_chars", 0) + getattr(counters, "write_chars", 0)
    return times.user + times.system, moved


def write_stacks(pid: int) -> None:
    """Have the processes below `pid` write where their threads are into their log; those that do not listen may end."""
    for process in descendants(pid, itself=True):
        with contextlib.suppress(psutil.Error, OSError):
            process.send_signal(signal.SIGUSR1)
    time.sleep(STACKS_S)


def descendants(pid: int, *, itself: bool = False) -> list[psutil.Process]:
    """The processes below one, also those in groups of their own; none if it is gone."""
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        return [*([parent] if itself else []), *parent.children(recursive=True)]
    return []


def last_lines(log: Path, start: int = 0) -> str:
    """The last lines of a log from the byte `start` on; of a progress bar what it showed last."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(its log cannot be read: {error})"
    lines = [line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n")]
    return "\n".join([line for line in lines if line][-TAIL_LINES:])
