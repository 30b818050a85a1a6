"""The heartbeat of a lease: how often it is given, when it ends, and what is told when it cannot be given."""

import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime

import pytest

from models.errors import StoreError
from tasks.store import leases
from tasks.store.artifacts import Store
from tasks.store.leases import LeaseState, current_lease

KEY = "0123456789abcdef"


def state_of(store: Store) -> LeaseState:
    state = current_lease(store.objects, "grpo", KEY)
    assert state is not None
    return state


class Ticks:
    """In place of the event that ends the heartbeats: ends them after so many, and keeps how long each waited."""

    def __init__(self, beats: int) -> None:
        self.beats = beats
        self.waited: list[float] = []

    def wait(self, timeout: float) -> bool:
        self.waited.append(timeout)
        return len(self.waited) > self.beats


def ticking(store: Store, state: LeaseState, beats: int) -> tuple[leases.Lease, Ticks]:
    lease, ticks = leases.Lease(store.objects, state), Ticks(beats)
    lease._stop = ticks  # type: ignore[assignment]
    return lease, ticks


def test_a_heartbeat_goes_on_until_the_lease_is_released(store: Store) -> None:
    with store.lease("grpo", KEY, owner="me", ttl_s=0.3) as lease:
        first = state_of(store)
        soon(lambda: state_of(store).beats >= 2)
        later = state_of(store)
        lease.check()
    assert datetime.fromisoformat(later.heartbeat_at) > datetime.fromisoformat(first.heartbeat_at)
    assert (later.token, later.acquired_at, later.released) == (first.token, first.acquired_at, False)
    last = state_of(store)
    assert last.released and last.beats >= later.beats
    time.sleep(0.3)
    assert state_of(store) == last


def test_the_heart_beats_three_times_a_ttl_and_counts_its_beats(store: Store) -> None:
    with store.lease("grpo", KEY, owner="me", ttl_s=60.0):
        lease, ticks = ticking(store, state_of(store), 2)
        lease._keep()
        assert state_of(store).beats == 2
        assert ticks.waited == [20.0, 20.0, 20.0]


def test_the_heartbeat_of_a_lost_lease_says_so_once_and_ends(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with store.lease("grpo", KEY, owner="me"):
        state = state_of(store)
    lease, ticks = ticking(store, state, 5)
    with store.lease("grpo", KEY, owner="you"):
        lease._keep()
    assert len(ticks.waited) == 1
    (told,) = [one for one in caplog.records if one.name == "tasks.store.leases"]
    assert told.levelname == "ERROR"
    assert told.getMessage().startswith(f"the lease of grpo 0123456789ab is now with you ({socket.gethostname()}, pid ")


def test_the_heartbeat_is_a_thread_that_no_process_waits_for(store: Store) -> None:
    with store.lease("grpo", KEY, owner="me"):
        (thread,) = [one for one in threading.enumerate() if one.name == "lease-grpo"]
        assert thread.daemon
    assert not thread.is_alive()


def test_a_heartbeat_that_the_store_refuses_is_tried_again(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.objects.write

    def refusing(path: str, data: bytes) -> None:
        monkeypatch.setattr(store.objects, "write", real)
        raise StoreError("the disk is full")

    with store.lease("grpo", KEY, owner="me", ttl_s=0.3) as lease:
        monkeypatch.setattr(store.objects, "write", refusing)
        soon(lambda: state_of(store).beats >= 2)
        lease.check()
    told = [one.getMessage() for one in caplog.records if one.name == "tasks.store.leases"]
    assert told == ["Lease of grpo not renewed, trying again: the disk is full"]


def soon(true: Callable[[], bool]) -> None:
    """Waits until it is true, which the test's own time limit ends."""
    while not true():
        time.sleep(0.02)
