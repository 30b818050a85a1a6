"""What a lease's file says, and what is told when it is lost, waited for, or the store fails."""

import logging
import os
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from models.errors import LeaseLost, StoreError
from tasks.store import leases
from tasks.store.artifact_types import to_json
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.leases import LeaseState, current_lease
from tasks.store.objects.base import Found

KEY = "0123456789abcdef"


def state_of(store: Store) -> LeaseState:
    state = current_lease(store.objects, "grpo", KEY)
    assert state is not None
    return state


def test_the_file_says_who_holds_the_lease_from_where_and_since_when(store: Store) -> None:
    assert current_lease(store.objects, "grpo", KEY) is None
    refs = [ArtifactRef(kind="model", digest=one * 64, size=1, n_files=1) for one in "ab"]
    began = datetime.now(UTC)
    with store.lease("grpo", KEY, owner="me", ttl_s=50, refs=refs):
        state = state_of(store)
    assert (state.stage, state.key, state.epoch, state.owner, state.ttl_s) == ("grpo", KEY, 1, "me", 50.0)
    assert (state.pid, state.host) == (os.getpid(), socket.gethostname())
    assert abs(state.pid_started - psutil.Process().create_time()) < 2
    assert state.refs == ("a" * 64, "b" * 64) and (state.beats, state.released) == (0, False)
    assert state.path == f"leases/grpo/{KEY}/000000001.json"
    assert re.fullmatch("[0-9a-f]{32}", state.token)
    for said in (state.acquired_at, state.heartbeat_at):
        assert began <= datetime.fromisoformat(said) <= began + timedelta(minutes=5)


def test_a_machine_is_told_by_its_host_its_boot_and_its_container(store: Store) -> None:
    with store.lease("grpo", KEY, owner="me"):
        host, boot, container = state_of(store).machine.split(" ")
    assert host == socket.gethostname()
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert container == os.readlink("/proc/self/ns/pid")


def test_a_machine_that_tells_neither_boot_nor_container_is_told_by_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*given: object, **named: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(os, "readlink", absent)
    assert leases._machine() == socket.gethostname()


def test_the_file_of_the_one_before_is_removed(store: Store) -> None:
    for owner in ("first", "second", "third"):
        with store.lease("grpo", KEY, owner=owner):
            pass
    assert [found.path for found in store.objects.walk("leases")] == [f"leases/grpo/{KEY}/000000003.json"]


@pytest.mark.parametrize(("off", "gone"), [(0.0, False), (2.0, False), (-2.0, False), (2.5, True), (-2.5, True)])
def test_a_process_that_began_at_another_time_is_another_one(store: Store, off: float, gone: bool) -> None:
    assert seen_starting(store, off, beat=-10.0).process_is_gone() is gone


@pytest.mark.parametrize("off", [-3600.0, -2.5, 2.5, 3600.0])
def test_a_holder_that_lives_is_not_gone_because_the_clock_was_set(store: Store, off: float) -> None:
    """Its start is told anew from a boot time that moves with the clock; it has given a heartbeat since."""
    assert not seen_starting(store, off, beat=60.0).process_is_gone()


@pytest.mark.parametrize(("beat", "gone"), [(-10.0, True), (1.5, True), (2.0, False), (2.5, False)])
def test_a_process_that_began_before_the_last_heartbeat_is_the_holder(store: Store, beat: float, gone: bool) -> None:
    assert seen_starting(store, 2.5, beat).process_is_gone() is gone


def seen_starting(store: Store, off: float, beat: float) -> LeaseState:
    """A lease of this process whose file has its start `off` seconds off, and a heartbeat `beat` seconds after it."""
    with store.lease("grpo", KEY, owner="me"):
        state = state_of(store)
    last_beat = datetime.fromtimestamp(state.pid_started + beat, UTC).isoformat()
    return state.model_copy(update={"pid_started": state.pid_started + off, "heartbeat_at": last_beat})


def test_a_process_that_is_not_there_is_gone_and_one_that_may_not_be_looked_at_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.lease("grpo", KEY, owner="me"):
        state = state_of(store)
    absent = next(pid for pid in range(4_000_000, 4_194_304) if not psutil.pid_exists(pid))
    assert state.model_copy(update={"pid": absent}).process_is_gone() is True

    def hidden(pid: int) -> None:
        raise psutil.AccessDenied(pid)

    monkeypatch.setattr(psutil, "Process", hidden)
    assert state.process_is_gone() is False


def test_who_lost_a_lease_is_told_to_whom_and_what_to_do(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases.Lease, "_keep", lambda self: None)
    with store.lease("grpo", KEY, owner="me", ttl_s=1.5) as lease:
        taken = state_of(store).model_copy(update={"epoch": 2, "token": "x", "owner": "you", "host": "there", "pid": 7})
        store.objects.create(taken.path, to_json(taken))
        told = (
            "the lease of grpo 0123456789ab is now with you (there, pid 7); this run was silent for longer than 1.5 s. "
            "Its work is kept: run it again to wait for the result"
        )
        with pytest.raises(LeaseLost, match=f"^{re.escape(told)}$"):
            lease.check()
        store.objects.remove(taken.path)
        with pytest.raises(LeaseLost):
            lease.check()  # once lost, always lost
    assert [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "tasks.store.leases"] == [
        ("ERROR", told.replace("you (there, pid 7)", f"me ({socket.gethostname()}, pid {os.getpid()})"))
    ]
    assert not state_of(store).released, "nothing is written by who has lost it"


def test_a_lease_whose_file_is_gone_is_with_nobody(store: Store) -> None:
    with store.lease("grpo", KEY, owner="me") as lease:
        store.objects.remove_tree("leases")
        with pytest.raises(LeaseLost, match="is now with nobody: its file is gone; this run"):
            lease.check()


def test_waiting_is_told_once_a_holder_in_the_log_if_nobody_else_listens(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.lease("grpo", KEY, owner="first", ttl_s=0.3):
        state = state_of(store)
    monkeypatch.setattr(leases, "_machine", lambda: "another machine")
    held = state.model_copy(update={"released": False})
    store.objects.write(held.path, to_json(held))
    caplog.set_level(logging.INFO, logger="tasks.store.leases")
    with store.lease("grpo", KEY, owner="second", poll_s=0.02) as lease:
        assert lease.epoch == 2
    who = f"first ({socket.gethostname()}, pid {os.getpid()})"
    assert [one.getMessage() for one in caplog.records if one.name == "tasks.store.leases"] == [
        f"grpo 0123456789ab: waiting for {who}, which works on it since {state.acquired_at}",
        f"grpo 0123456789ab: taking over from {who}, silent for 0.3 s",
    ]


def test_a_holder_that_has_ended_is_taken_over_from_and_named(store: Store) -> None:
    with store.lease("grpo", KEY, owner="first"):
        state = state_of(store)
    absent = next(pid for pid in range(4_000_000, 4_194_304) if not psutil.pid_exists(pid))
    store.objects.write(state.path, to_json(state.model_copy(update={"released": False, "pid": absent})))
    told: list[str] = []
    with store.lease("grpo", KEY, owner="second", on_wait=told.append) as lease:
        assert lease.epoch == 2
    who = f"first ({socket.gethostname()}, pid {absent})"
    assert told == [f"grpo 0123456789ab: taking over from {who}, which has ended"]


def test_silence_is_over_after_the_ttl_counted_from_the_last_beat(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.lease("grpo", KEY, owner="first", ttl_s=60.0):
        held = state_of(store)
    clock, told = [1000.0], list[str]()
    monkeypatch.setattr(leases.time, "monotonic", lambda: clock[0])
    watch = leases._Watch(told.append)
    seen = []
    for at, beats in ((0, 0), (59.5, 0), (59.75, 1), (119.5, 1), (119.75, 1)):
        clock[0] = 1000.0 + at
        seen.append(watch.is_over(held.model_copy(update={"beats": beats})))
    assert seen == [False, False, False, False, True]
    assert [one.partition("first")[0] for one in told] == [
        "grpo 0123456789ab: waiting for ",
        "grpo 0123456789ab: taking over from ",
    ]


def test_a_release_that_the_store_refuses_is_told_and_hides_no_result(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(path: str, data: bytes) -> None:
        raise StoreError("the disk is full")

    with store.lease("grpo", KEY, owner="me"):
        monkeypatch.setattr(store.objects, "write", refusing)
    told = [one.getMessage() for one in caplog.records if one.name == "tasks.store.leases"]
    assert told == ["Lease of grpo not released, it expires: the disk is full"]
    assert not state_of(store).released


def test_files_that_vanish_as_they_are_listed_are_looked_for_ten_times_and_then_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.lease("grpo", KEY, owner="me"):
        pass
    real, looks = store.objects.walk, list[str]()
    there_at = 10

    def late(path: str) -> list[Found]:
        looks.append(path)
        gone = [Found(f"leases/grpo/{KEY}/000000009.json", 1, 0.0)]
        return gone if len(looks) < there_at else list(real(path))

    monkeypatch.setattr(store.objects, "walk", late)
    assert state_of(store).epoch == 1 and len(looks) == 10
    looks.clear()
    there_at = 11
    folder = re.escape(store.objects.uri(f"leases/grpo/{KEY}"))
    with pytest.raises(StoreError, match=f"^the lease files in {folder} vanish as fast as they are listed$"):
        current_lease(store.objects, "grpo", KEY)
    assert len(looks) == 10
