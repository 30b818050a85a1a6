"""Start, find again and end the processes of a stack.

A process is known by its id and its start time, so that an id that another program got since is left alone. What a
service starts in turn, flow runs in sessions of their own among it, is known by a variable in its environment.

Why not supervisord (supervisor 4.3 was tried with these five services; it starts them as well, and restarts one by
itself): it is a sixth process that may be killed, and its successor cannot adopt what it started. It starts
everything again beside the living, which fails on the taken ports, so healing takes the search by environment below
all the same, and ends flow runs that would have gone on. It knows neither readiness nor flow runs, cannot take a
variable away from a service, and its socket's path must be shorter than 108 bytes. Of this file, the start of a
process and its two signals would go; a client, a configuration and start scripts for the secrets would come. Here
nothing has to be alive but the services, and `stack up` starts what is not.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil

from tasks.stack.services import OWNER, StackService
from tasks.stack.state import Record, Running, StackError, StackFolder

START_TOLERANCE_S = 1.0  # the clock that start times are counted from may be set meanwhile
LOG_BYTES = 20 << 20  # a log larger than this is set aside when its service starts
LAST_LINES = 15  # lines of a log that an error shows
TAIL_BYTES = 1 << 20
POLL_S = 0.1
RUN_S = 30.0  # a flow run gets this long to end its stage's processes and report to Prefect
SWEEP_S = 5.0  # what is left then gets this long after SIGTERM
SWEEPS = 5
BLANK_S = 0.05
SOCKETS = Path("/tmp")  # noqa: S108  (SeaweedFS leaves sockets named by port there, and takes no other folder)


@dataclass(frozen=True)
class Status:
    """One row of `stack status`."""

    name: str
    state: Literal["running", "unhealthy", "down"]
    pid: int | None
    url: str
    since: str | None  # when the process started, ISO 8601


def find(running: Running | None) -> psutil.Process | None:
    """The process that was recorded, if it is that one still and alive."""
    if running is None:
        return None
    try:
        process = psutil.Process(running.pid)
        same = abs(process.create_time() - running.started) <= START_TOLERANCE_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


class Started:
    """A service's process that this program started, with the part of the log that is its own."""

    def __init__(self, service: StackService, folder: StackFolder) -> None:
        self.service = service
        self.log = folder.log_file(service.name)
        _rotate(self.log)
        self.began = time.monotonic()
        with self.log.open("ab") as log:
            self._offset = log.seek(0, os.SEEK_END)
            self.process = subprocess.Popen(
                service.argv,
                cwd=service.cwd,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running = Running(pid=self.process.pid, started=psutil.Process(self.process.pid).create_time())

    def check(self) -> None:
        """Raises `StackError` with the end of its log if the process has ended."""
        code = self.process.poll()
        if code is None:
            return
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        raise StackError(f"{self.service.name} ended at its start with {how}; {self.last_lines()}")

    def last_lines(self) -> str:
        """The last lines of this start's log, and where the rest is."""
        with self.log.open("rb") as file:
            file.seek(self._offset)
            lines = deque(file.read().decode(errors="replace").splitlines(), maxlen=LAST_LINES)
        return f"the end of {self.log}:\n" + ("\n".join(lines) or "(empty)")


def wait_until_healthy(started: Sequence[Started], wanted: Iterable[str], limit_s: float) -> dict[str, float]:
    """Seconds that each of `wanted` took; all of `started` are watched meanwhile, `wanted` or not.

    Raises `StackError` as soon as one of them ends, and for one that is not healthy within `limit_s`.
    """
    waiting = {one.service.name: one for one in started if one.service.name in set(wanted)}
    took: dict[str, float] = {}
    deadline = time.monotonic() + limit_s
    while waiting:
        for one in started:
            one.check()
        for name, one in list(waiting.items()):
            if one.service.healthy(one.running.started):
                took[name] = time.monotonic() - one.began
                del waiting[name]
        if waiting and time.monotonic() > deadline:
            slow = next(iter(waiting.values()))
            raise StackError(f"{slow.service.name} was not ready within {limit_s:g} s; {slow.last_lines()}")
        time.sleep(POLL_S)
    return took


def status(services: Iterable[StackService], record: Record) -> list[Status]:
    """Each service: whether its process lives, and whether it answers."""
    rows = []
    for service in services:
        running = record.services.get(service.name)
        if running is None or find(running) is None:
            rows.append(Status(service.name, "down", None, service.url, None))
            continue
        state: Literal["running", "unhealthy"] = "running" if service.healthy(running.started) else "unhealthy"
        since = datetime.fromtimestamp(running.started, UTC).isoformat(timespec="seconds")
        rows.append(Status(service.name, state, running.pid, service.url, since))
    return rows


def stop(services: Sequence[StackService], record: Record) -> list[str]:
    """Ask these services to end, all at once, and end those that do not; the names of those that ran."""
    found = [(service, find(record.services.get(service.name))) for service in services]
    alive = [(service, process) for service, process in found if process is not None]
    for service, process in alive:
        _signal(process, signal.SIGTERM, as_group=service.as_group)
        _signal(process, signal.SIGCONT, as_group=service.as_group)  # for one that holds still
    began = time.monotonic()
    for service, process in alive:
        _wait([process], began + service.grace_s)
        _signal(process, signal.SIGKILL, as_group=True)
    _wait([process for _, process in alive], time.monotonic() + SWEEP_S)
    return [service.name for service, _ in alive]


def end_flow_runs(folder: StackFolder, workers: Sequence[StackService], record: Record) -> int:
    """End what the workers started while Prefect still listens, so that runs are marked as crashed; how many were left.

    The workers hold still meanwhile: they would take the next run from the queue, and on SIGTERM they end theirs
    without a report. Only the flow runs are asked, which then end their own children.
    """
    for service in workers:
        if process := find(record.services.get(service.name)):
            _signal(process, signal.SIGSTOP, as_group=False)
    processes = _descendants(folder, record)
    ids = {process.pid for process in processes}
    runs = [process for process in processes if _parent(process) not in ids]
    for process in runs:
        _signal(process, signal.SIGTERM, as_group=False)
    _wait(runs, time.monotonic() + RUN_S)
    _end(_descendants(folder, record))
    return len(runs)


def _descendants(folder: StackFolder, record: Record) -> list[psutil.Process]:
    """What this stack's services started and is not a service: flow runs, and what those started."""
    own = {running.pid for running in record.services.values() if find(running)}
    return [process for process in owned(folder) if not own & _groups(process)]


def owned(folder: StackFolder) -> list[psutil.Process]:
    """All living processes whose environment says that this stack started them, but for this one."""
    found, blank = _marked(folder, psutil.process_iter())
    if blank:
        # A process that is just becoming another program shows no environment for a moment.
        time.sleep(BLANK_S)
        found += _marked(folder, blank)[0]
    return found


def _marked(
    folder: StackFolder, processes: Iterable[psutil.Process]
) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Those of this stack, and those that show no environment."""
    found, blank = [], []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            environment = process.environ()
            if process.pid != os.getpid() and environment.get(OWNER) == str(folder.path):
                found.append(process)
            elif not environment and process.status() != psutil.STATUS_ZOMBIE:
                blank.append(process)
    return found, blank


def sweep(folder: StackFolder) -> None:
    """End all that this stack started, kindly first, and what was started meanwhile."""
    for _ in range(SWEEPS):
        if not (left := owned(folder)):
            return
        _end(left)


def _end(processes: Sequence[psutil.Process]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            _signal(process, how, as_group=False)
        _wait(processes, time.monotonic() + SWEEP_S)


def remove_sockets(ports: Iterable[int]) -> None:
    """The files that SeaweedFS leaves behind for these ports."""
    for port in ports:
        for path in SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
            with contextlib.suppress(OSError):
                path.unlink()


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file, of its last MiB at most."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        return list(deque(file.read().decode(errors="replace").splitlines(), maxlen=lines))
    return []


def follow(paths: Sequence[Path], wait_s: float = 0.3) -> Iterator[tuple[Path, str]]:
    """Lines as they are written, without end; a file that is made again is followed from its beginning."""
    at = {path: path.stat().st_size if path.exists() else 0 for path in paths}
    while True:
        quiet = True
        for path in paths:
            size = path.stat().st_size if path.exists() else 0
            if size < at[path]:
                at[path] = 0
            if size > at[path]:
                with path.open("rb") as file:
                    file.seek(at[path])
                    whole, newline, _ = file.read(TAIL_BYTES).rpartition(b"\n")
                at[path] += len(whole + newline)
                quiet = quiet and not newline
                yield from ((path, line) for line in whole.decode(errors="replace").splitlines())
        if quiet:
            time.sleep(wait_s)


def _parent(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        return int(process.ppid())
    return None


def _groups(process: psutil.Process) -> set[int]:
    with contextlib.suppress(ProcessLookupError):
        return {os.getpgid(process.pid)}
    return set()


def _signal(process: psutil.Process, how: signal.Signals, *, as_group: bool) -> None:
    """To the process, or to the group that it leads; psutil checks its start time first."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        if as_group:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)


def _wait(processes: Sequence[psutil.Process], deadline: float) -> None:
    """Until all have ended or the deadline passed. A zombie has ended: its parent has only to collect it."""
    while time.monotonic() < deadline:
        if not any(_lives(process) for process in processes):
            return
        time.sleep(POLL_S / 2)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _rotate(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
