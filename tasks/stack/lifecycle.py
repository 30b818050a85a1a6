"""A whole stack: up, down, and what is running.

`up` starts the three servers at once, sets Prefect up as soon as it answers, and starts the workers while flows are
being deployed. What runs already stays.
"""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.stack.prefect_setup import Deploying, LogLine, names_in, prepare, wanted_pools
from tasks.stack.services import StackService, services, weed, worker_environment
from tasks.stack.state import (
    BUCKET,
    GRPC_ABOVE,
    HOST,
    PORTS,
    Record,
    StackError,
    StackFolder,
    assign_ports,
    exported,
)
from tasks.stack.supervision import (
    Started,
    Status,
    end_flow_runs,
    find,
    remove_sockets,
    status,
    stop,
    sweep,
    wait_until_healthy,
)

READY_S = 120.0  # for one server on a machine that is busy
RECOVER_S = 15.0  # for one that runs and does not answer, before it is started again
BUCKET_S = 20.0
WORKER = "worker-"


@dataclass(frozen=True)
class Up:
    """What `up` did."""

    started: list[str]
    found: list[str]
    ports: dict[str, int]
    seconds: float


class _Startup:
    """One `up` running."""

    def __init__(self, folder: StackFolder, environ: Mapping[str, str], log: LogLine) -> None:
        self.folder, self.environ, self.log = folder, environ, log
        self.record = folder.record()
        self.begun_at = time.monotonic()
        self.started: list[Started] = []
        self._assign_ports()
        self.services = {one.name: one for one in services(folder, self.record, environ)}
        self.found = [name for name, one in self.services.items() if self._keeps(one)]

    def _assign_ports(self) -> None:
        """Ports for what is not running. If one had to move, all is started again, for it is in all environments."""
        kept = self.record.ports
        everything = services(self.folder, Record(ports={**PORTS, **kept}), self.environ)
        idle = [one for one in everything if find(self.record.services.get(one.name)) is None]
        ports = assign_ports(kept, [port for one in idle for port in one.ports])
        moved = [name for name, port in kept.items() if ports[name] != port]
        for name in moved:
            self.log(f"port {kept[name]} is taken by another program: {name} moves to {ports[name]}")
        if moved:
            _stop_all(everything, self.record, self.folder, self.log)
            self.record.services.clear()
            remove_sockets(kept[name] + above for name in moved for above in (0, GRPC_ABOVE))
        self.record.ports = ports
        self.folder.keep(self.record)
        self.folder.write_env(exported(self.folder, ports))

    def _keeps(self, service: StackService) -> bool:
        """Whether it runs and answers; one that runs and does not is ended."""
        running = self.record.services.get(service.name)
        if running is None or find(running) is None:
            return False
        deadline = time.monotonic() + RECOVER_S
        while find(running) is not None and time.monotonic() < deadline:
            if service.healthy(running.started):
                return True
            time.sleep(0.2)
        self.log(f"{service.name} runs and does not answer: it is started again")
        stop([service], self.record)
        return False

    def start(self, names: Sequence[str]) -> list[str]:
        """Start those that are missing, each recorded at once, so that `down` finds it whatever follows."""
        missing = [name for name in names if name not in self.found]
        for name in missing:
            one = Started(self.services[name], self.folder)
            self.started.append(one)
            self.record.services[name] = one.running
            self.folder.keep(self.record)
        return missing

    def ready(self, names: Sequence[str]) -> None:
        """Wait for these, and log how long each took."""
        for name, seconds in wait_until_healthy(self.started, names, READY_S).items():
            self.log(f"{name}: ready in {seconds:.1f} s")


def up(folder: StackFolder, environ: Mapping[str, str], prefect_file: Path, log: LogLine) -> Up:
    """Start what is missing, and set Prefect up. Raises `StackError` with the last lines of its log."""
    names_in(prefect_file)
    weed()
    folder.make()
    with folder.locked():
        startup = _Startup(folder, environ, log)
        for name in startup.found:
            log(f"{name}: running already")
        try:
            return _bring_up(startup, prefect_file)
        except StackError:
            log("what did start goes on: once the fault is repaired, `stack up` starts the rest; `stack down` ends it")
            raise


def _bring_up(startup: _Startup, prefect_file: Path) -> Up:
    folder, log, ports = startup.folder, startup.log, startup.record.ports
    _preload()
    servers = startup.start([name for name in startup.services if not name.startswith(WORKER)])
    # MLflow is waited for last: nothing here needs it, and it takes about as long as Prefect.
    startup.ready([name for name in servers if name != "mlflow"])
    if "s3" in servers:
        make_bucket(ports)
    environment = worker_environment(folder, ports, startup.environ)
    api = environment["PREFECT_API_URL"]
    prepare(api, wanted_pools(), environment, log)
    workers = startup.start([name for name in startup.services if name.startswith(WORKER)])
    deploying = Deploying(api, prefect_file, environment, folder.log_file("deploy"))
    try:
        startup.ready([*(name for name in servers if name == "mlflow"), *workers])
        log(deploying.finish())
    finally:
        deploying.stop()
    return Up([*servers, *workers], startup.found, ports, time.monotonic() - startup.begun_at)


def down(folder: StackFolder, environ: Mapping[str, str], log: LogLine, *, wipe: bool = False) -> None:
    """End everything that this stack started, flow runs first; with `wipe`, remove what it kept too."""
    with folder.locked():
        record = folder.record()
        if record.ports:
            _stop_all(services(folder, record, environ), record, folder, log)
            remove_sockets(port + above for port in record.ports.values() for above in (0, GRPC_ABOVE))
        record.services.clear()
        folder.keep(record)
        if wipe:
            folder.wipe()
            log(f"removed {folder.path}")


def probe(folder: StackFolder, environ: Mapping[str, str]) -> list[Status]:
    """The state of each service."""
    record = folder.record()
    return status(services(folder, record, environ), record)


def make_bucket(ports: Mapping[str, int]) -> None:
    """The stack's bucket, made if it is not there. Raises `StackError`."""
    shell = [weed(), "shell", f"-master={HOST}:{ports['s3_master']}", f"-filer={HOST}:{ports['s3_filer']}"]
    typed = f"s3.bucket.create -name {BUCKET}\ns3.bucket.list\n"
    deadline = time.monotonic() + BUCKET_S
    while True:
        done = subprocess.run(shell, input=typed, capture_output=True, text=True, timeout=60)
        if any(line.split()[:1] == [BUCKET] for line in done.stdout.splitlines()):
            return
        if time.monotonic() > deadline:
            raise StackError(f"the bucket {BUCKET} could not be made: {(done.stderr or done.stdout).strip()[-500:]}")
        time.sleep(0.5)


def _stop_all(every: Sequence[StackService], record: Record, folder: StackFolder, log: LogLine) -> None:
    """Flow runs, which report it to Prefect; then the workers; then the servers; then whatever is left."""
    workers = [one for one in every if one.name.startswith(WORKER)]
    with _deferred(signal.SIGINT, log):
        if runs := end_flow_runs(folder, workers, record):
            what = "1 flow run" if runs == 1 else f"{runs} flow runs"
            log(f"ended {what} running, marked as crashed: what is run again resumes")
        stopped = stop(workers, record)
        stopped += stop([one for one in every if one not in workers], record)
        sweep(folder)
    log(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@contextlib.contextmanager
def _deferred(how: signal.Signals, log: LogLine) -> Iterator[None]:
    """Ctrl-C while ending is answered afterwards: half an end would leave processes that nobody ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []

    def note(number: int, _: object) -> None:
        if not pressed:
            log("still ending; this takes at most a minute")
        pressed.append(number)

    before = signal.signal(how, note)
    try:
        yield
    finally:
        signal.signal(how, before)
    if pressed:
        raise KeyboardInterrupt


def _preload() -> None:
    """Import Prefect's client while the servers start, which is waited for anyway."""

    def load() -> None:
        import prefect.client.orchestration
        import prefect.workers.process  # noqa: F401

    threading.Thread(target=load, daemon=True).start()
