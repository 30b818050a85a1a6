"""One run at a time per stage key: leases that hold on a file system and on S3 alike.

    <root>/leases/<stage>/<key>/<epoch>.json

Each taking of the lease is a new epoch, and the highest epoch there is holds it. Taking over from a dead holder
is the create-only write of the next epoch, so that of several waiting runs exactly one succeeds: a compare-and-swap
out of what every storage offers. A holder rewrites only its own file: its heartbeat, and in the end `released`,
which stays as a marker so that epochs never go backwards (gc removes it when it is old).

A holder counts as dead when its file has not changed for its own `ttl_s` on *our* monotonic clock (two machines'
wall clocks are never compared), or at once if it was a process of this machine that is no longer there.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import Field

from models.errors import LeaseLost, StoreError
from models.pairs.preference import Frozen
from tasks.store.artifact_types import SCHEMA_VERSION, from_json, to_json
from tasks.store.objects.base import Objects

logger = logging.getLogger(__name__)

# psutil derives a process's start from the boot time, which may be corrected by a second while it runs.
_START_TOLERANCE_S = 2.0


class LeaseState(Frozen):
    """The content of a lease file. `machine` tells apart boots and containers that share a host name."""

    schema_version: int = SCHEMA_VERSION
    stage: str
    key: str
    epoch: int = Field(ge=1)
    token: str = Field(description="unique to this taking of the lease")
    owner: str
    pid: int
    pid_started: float = Field(description="Unix seconds")
    host: str
    machine: str
    ttl_s: float = Field(gt=0)
    acquired_at: str
    heartbeat_at: str = Field(
        description="the holder's clock, compared on its own machine alone: waiting runs watch whether `beats` moves"
    )
    beats: int = 0
    released: bool = False
    refs: tuple[str, ...] = Field(default=(), description="digests that gc keeps while the lease is alive")

    @property
    def path(self) -> str:
        """Its file below the store's root."""
        return f"{lease_folder(self.stage, self.key)}/{self.epoch:09d}.json"

    def process_is_gone(self) -> bool:
        """Whether the holder ran on this machine and has ended; False when that cannot be told from here."""
        if self.machine != _machine():
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            return self._is_another(process.create_time())
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False

    def _is_another(self, began: float) -> bool:
        """Whether a process that began then has but the id of the holder, which has ended.

        It began at another time, and after the holder's last heartbeat: when a clock is set, psutil tells another start
        of a holder that lives, too.
        """
        last_beat = datetime.fromisoformat(self.heartbeat_at).timestamp()
        return abs(began - self.pid_started) > _START_TOLERANCE_S and began > last_beat - _START_TOLERANCE_S


def lease_folder(stage: str, key: str) -> str:
    """Where the lease files of a stage key are, below the store's root."""
    return f"leases/{stage}/{key}"


def current_lease(objects: Objects, stage: str, key: str) -> LeaseState | None:
    """The lease file that counts, released or not; None if the key was never leased."""
    for _ in range(10):
        files = [found.path for found in objects.walk(lease_folder(stage, key))]
        if not files:
            return None
        with suppress(FileNotFoundError):  # a new holder has just removed it: there is a newer one
            return from_json(LeaseState, objects.read(files[-1]), objects.uri(files[-1]), corrupt=StoreError)
    raise StoreError(f"the lease files in {objects.uri(lease_folder(stage, key))} vanish as fast as they are listed")


class Lease:
    """A held lease, renewed by a daemon thread. Made by `Store.lease` only."""

    def __init__(self, objects: Objects, state: LeaseState) -> None:
        self._objects = objects
        self._state = state
        self._stop = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._keep, name=f"lease-{state.stage}", daemon=True)

    @property
    def owner(self) -> str:
        """Who holds it, as given to `Store.lease`."""
        return self._state.owner

    @property
    def epoch(self) -> int:
        """How many times the lease of this key was taken, this time included."""
        return self._state.epoch

    def check(self) -> None:
        """Asks the store whether the lease is still ours: call it before results are recorded.

        Raises `LeaseLost` when somebody else took it (or removed it), `StoreError` when the store cannot tell.
        """
        top = current_lease(self._objects, self._state.stage, self._state.key)
        if self._lost or top is None or top.token != self._state.token:
            self._lost = True
            now_with = f"{top.owner} ({top.host}, pid {top.pid})" if top is not None else "nobody: its file is gone"
            raise LeaseLost(
                f"the lease of {self._state.stage} {self._state.key[:12]} is now with {now_with}; this run was silent "
                f"for longer than {self._state.ttl_s:g} s. Its work is kept: run it again to wait for the result"
            )

    def _rewrite(self, **changes: object) -> None:
        self.check()
        self._state = self._state.model_copy(update=changes)
        self._objects.write(self._state.path, to_json(self._state))

    def _keep(self) -> None:
        while not self._stop.wait(self._state.ttl_s / 3):
            try:
                self._rewrite(beats=self._state.beats + 1, heartbeat_at=_now())
            except LeaseLost as error:
                logger.error("%s", error)
                return
            except StoreError as error:
                logger.warning("Lease of %s not renewed, trying again: %s", self._state.stage, error)

    def start(self) -> None:
        """Begin to renew the heartbeat, in a thread of its own."""
        self._thread.start()

    def release(self) -> None:
        """Stop renewing, and mark the lease released."""
        self._stop.set()
        self._thread.join()
        try:
            self._rewrite(released=True)
        except LeaseLost as error:
            logger.error("%s", error)
        except StoreError as error:
            # The body's own outcome matters more than this; others wait for the lease to expire.
            logger.warning("Lease of %s not released, it expires: %s", self._state.stage, error)


@contextmanager
def hold_lease(
    objects: Objects,
    stage: str,
    key: str,
    *,
    owner: str,
    ttl_s: float,
    poll_s: float,
    on_wait: Callable[[str], None] | None,
    refs: Iterable[str],
) -> Iterator[Lease]:
    """Waits for the lease of a stage key, holds it through the block, and releases it. See `Store.lease`."""
    lease = Lease(objects, _acquire(objects, stage, key, owner, ttl_s, poll_s, on_wait, tuple(refs)))
    lease.start()
    try:
        yield lease
    finally:
        lease.release()


def _acquire(
    objects: Objects,
    stage: str,
    key: str,
    owner: str,
    ttl_s: float,
    poll_s: float,
    on_wait: Callable[[str], None] | None,
    refs: tuple[str, ...],
) -> LeaseState:
    watch = _Watch(on_wait or (lambda message: logger.info("%s", message)))
    while True:
        top = current_lease(objects, stage, key)
        if top is not None and not watch.is_over(top):
            time.sleep(poll_s)
            continue
        mine = LeaseState(
            stage=stage,
            key=key,
            epoch=top.epoch + 1 if top is not None else 1,
            token=uuid.uuid4().hex,
            owner=owner,
            pid=os.getpid(),
            pid_started=psutil.Process().create_time(),
            host=socket.gethostname(),
            machine=_machine(),
            ttl_s=ttl_s,
            acquired_at=_now(),
            heartbeat_at=_now(),
            refs=refs,
        )
        if objects.create(mine.path, to_json(mine)):
            files = [found.path for found in objects.walk(lease_folder(stage, key))]
            for path in files:
                if path < mine.path:
                    objects.remove(path)
            if all(path <= mine.path for path in files):
                return mine
            # While we were slow the epoch after `top` was taken, released and removed by the one after it.
            objects.remove(mine.path)
        # Another waiting run was faster: look again at who holds it now.


class _Watch:
    """Whether the lease that somebody else holds is over, judged by watching its file."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._seen: tuple[str, int] | None = None
        self._since = 0.0

    def is_over(self, top: LeaseState) -> bool:
        who = f"{top.owner} ({top.host}, pid {top.pid})"
        if top.released:
            return True
        if top.process_is_gone():
            self._report(f"{top.stage} {top.key[:12]}: taking over from {who}, which has ended")
            return True
        now = time.monotonic()
        if self._seen is None or self._seen[0] != top.token:
            self._report(f"{top.stage} {top.key[:12]}: waiting for {who}, which works on it since {top.acquired_at}")
        if self._seen != (top.token, top.beats):
            self._seen = (top.token, top.beats)
            self._since = now
        if now - self._since < top.ttl_s:
            return False
        self._report(f"{top.stage} {top.key[:12]}: taking over from {who}, silent for {top.ttl_s:g} s")
        return True


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _machine() -> str:
    """This boot of this machine and this container: what a process id is meaningful within."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
