"""One run at a time per stage key, on a file system and on a real S3 server."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import LeaseLost, StoreError
from tasks.store import leases
from tasks.store.artifact_types import to_json
from tasks.store.artifacts import IndexEntry, Lease, Store
from tasks.store.leases import LeaseState, current_lease

REPOSITORY = Path(__file__).resolve().parents[3]

HOLD_FOREVER = """
import sys, time
from tasks.store.artifacts import Store
with Store(sys.argv[1]).lease("grpo", "k", owner="first", ttl_s=float(sys.argv[2])):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    time.sleep(600)
"""


@pytest.fixture
def store(root: str) -> Store:
    return Store(root)


def holder(store: Store, ttl_s: float) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD_FOREVER, store.root, str(ttl_s)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


@pytest.fixture
def killed_holder(store: Store) -> Iterator["subprocess.Popen[str]"]:
    """A process that took the lease of (grpo, k) for an hour and was killed; nobody has waited for it yet."""
    child = holder(store, ttl_s=3600)
    child.kill()
    yield child
    child.wait()


def state_of(store: Store) -> LeaseState:
    state = current_lease(store.objects, "grpo", "k")
    assert state is not None
    return state


def test_a_lease_names_its_holder_and_is_released(store: Store) -> None:
    with store.lease("grpo", "k", owner="run-1") as lease:
        lease.check()
        assert (lease.owner, lease.epoch) == ("run-1", 1)
        assert state_of(store).owner == "run-1"
        assert not state_of(store).released
    assert state_of(store).released
    with store.lease("grpo", "k", owner="run-2") as lease:
        assert lease.epoch == 2


def test_a_lease_is_released_when_the_work_fails(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.lease("grpo", "k", owner="run-1"):
        raise ZeroDivisionError
    assert state_of(store).released


def test_different_keys_do_not_wait_for_each_other(store: Store) -> None:
    with store.lease("grpo", "k", owner="a"), store.lease("grpo", "l", owner="b"), store.lease("sft", "k", owner="c"):
        pass


def compute_once(store: Store, owner: str, computed: list[str], reused: list[str], told: list[str]) -> None:
    with store.lease("grpo", "k", owner=owner, ttl_s=5, poll_s=0.02, on_wait=told.append) as lease:
        if store.lookup("grpo", "k") is not None:
            reused.append(owner)
            return
        time.sleep(0.1)
        computed.append(owner)
        lease.check()
        store.record(IndexEntry(stage="grpo", key="k", outputs={}, code_version=owner))


def test_of_several_threads_one_works_and_the_others_see_its_result(store: Store) -> None:
    computed: list[str] = []
    reused: list[str] = []
    told: list[str] = []
    threads = [threading.Thread(target=compute_once, args=(store, f"t{i}", computed, reused, told)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == 1
    assert len(reused) == 5
    assert any("waiting for" in message for message in told)


def test_of_several_processes_one_works_and_the_others_see_its_result(store: Store, tmp_path: Path) -> None:
    script = f"""
import os, time
from tasks.store.artifacts import IndexEntry, Store
store = Store({store.root!r})
with store.lease("grpo", "k", owner=str(os.getpid()), ttl_s=5, poll_s=0.02) as lease:
    if store.lookup("grpo", "k") is None:
        time.sleep(0.2)
        open({str(tmp_path)!r} + f"/computed-{{os.getpid()}}", "x").close()
        lease.check()
        store.record(IndexEntry(stage="grpo", key="k", outputs={{}}))
"""
    children = [subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY) for _ in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    assert len(list(tmp_path.glob("computed-*"))) == 1


def test_a_killed_holder_is_taken_over_from_at_once(store: Store, killed_holder: "subprocess.Popen[str]") -> None:
    # Not reaped yet: a zombie still has its process id, and works no more.
    told: list[str] = []
    start = time.monotonic()
    with store.lease("grpo", "k", owner="second", poll_s=0.05, on_wait=told.append) as lease:
        assert lease.epoch == 2
    assert time.monotonic() - start < 5
    assert f"taking over from first ({state_of(store).host}, pid {killed_holder.pid}), which has ended" in told[-1]


def test_one_of_many_takes_over_from_a_killed_holder(store: Store, killed_holder: "subprocess.Popen[str]") -> None:
    computed: list[str] = []
    reused: list[str] = []
    threads = [threading.Thread(target=compute_once, args=(store, f"t{i}", computed, reused, [])) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(computed), len(reused)) == (1, 5)


def test_a_reused_process_id_does_not_keep_a_lease_alive(store: Store) -> None:
    with store.lease("grpo", "k", owner="me"):
        state = state_of(store)
    assert not state.process_is_gone()
    last_beat = datetime.fromtimestamp(state.pid_started - 50, UTC).isoformat()
    dead = state.model_copy(update={"pid_started": state.pid_started - 100, "heartbeat_at": last_beat})
    assert dead.process_is_gone()
    assert not state.model_copy(update={"pid_started": 0.0, "machine": "another"}).process_is_gone()


def test_a_silent_holder_on_another_machine_is_taken_over_from_after_its_ttl(
    store: Store, killed_holder: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of(store).model_copy(update={"ttl_s": 0.6, "heartbeat_at": "2099-01-01T00:00:00+00:00"})
    store.objects.write(state.path, to_json(state))
    monkeypatch.setattr(leases, "_machine", lambda: "another machine, whose clock is decades behind")
    told: list[str] = []
    start = time.monotonic()
    with store.lease("grpo", "k", owner="second", poll_s=0.05, on_wait=told.append) as lease:
        assert lease.epoch == 2
    assert 0.6 <= time.monotonic() - start < 5
    assert "waiting for first" in told[0]
    assert "silent for 0.6 s" in told[1]


def test_a_living_holder_on_another_machine_is_waited_for_beyond_its_ttl(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = holder(store, ttl_s=0.6)
    monkeypatch.setattr(leases, "_machine", lambda: "another machine")
    taken = threading.Event()

    def second() -> None:
        with store.lease("grpo", "k", owner="second", poll_s=0.05):
            taken.set()

    thread = threading.Thread(target=second)
    thread.start()
    try:
        assert not taken.wait(2.0), "its heartbeat went on, at three times its ttl"
    finally:
        child.kill()
        child.wait()
        thread.join()
    assert taken.is_set()


def test_a_holder_that_slept_too_long_is_told_that_it_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "_keep", lambda self: None)  # a suspended process sends no heartbeat
    with store.lease("grpo", "k", owner="sleeper", ttl_s=0.3) as sleeper:
        with store.lease("grpo", "k", owner="second", poll_s=0.05) as second:
            with pytest.raises(LeaseLost, match="now with second"):
                sleeper.check()
            second.check()
        with pytest.raises(LeaseLost):
            sleeper.check()
    assert state_of(store).owner == "second"
    assert state_of(store).released


def test_a_heartbeat_never_revives_a_lease_that_was_taken(store: Store) -> None:
    with store.lease("grpo", "k", owner="sleeper", ttl_s=0.3) as sleeper:
        taken = state_of(store).model_copy(update={"epoch": 2, "token": "other", "owner": "second", "ttl_s": 60.0})
        assert store.objects.create(taken.path, to_json(taken))
        time.sleep(0.5)
        with pytest.raises(LeaseLost):
            sleeper.check()
    assert state_of(store) == taken


def test_a_slow_waiter_does_not_take_an_epoch_that_is_long_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.lease("grpo", "k", owner="first"):
        pass
    real = store.objects.create
    with ExitStack() as held:

        def slowly(path: str, data: bytes) -> bool:
            monkeypatch.setattr(store.objects, "create", real)
            with store.lease("grpo", "k", owner="second"):
                pass
            held.enter_context(store.lease("grpo", "k", owner="third"))
            return real(path, data)

        monkeypatch.setattr(store.objects, "create", slowly)
        told: list[str] = []

        def on_wait(message: str) -> None:
            told.append(message)
            held.close()

        with store.lease("grpo", "k", owner="slow", poll_s=0.05, on_wait=on_wait) as lease:
            assert lease.epoch == 4
            lease.check()
    assert "waiting for third" in told[0]


def test_a_lease_whose_file_was_removed_is_lost(store: Store) -> None:
    with store.lease("grpo", "k", owner="me") as lease:
        store.objects.remove_tree("leases")
        with pytest.raises(LeaseLost, match="nobody"):
            lease.check()


def test_a_lease_file_that_does_not_parse_is_an_error_and_not_a_free_lease(store: Store) -> None:
    store.objects.write("leases/grpo/k/000000001.json", b"{")
    with pytest.raises(StoreError, match="000000001") as raised, store.lease("grpo", "k", owner="me"):
        pass
    assert raised.type is StoreError, "an artifact is not what is broken"
