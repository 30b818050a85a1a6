"""Starting, finding and ending processes: real ones, small enough to start in a blink."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tasks.stack.services import OWNER, StackService
from tasks.stack.state import Record, Running, StackError, StackFolder
from tasks.stack.supervision import (
    Started,
    end_flow_runs,
    find,
    follow,
    owned,
    status,
    stop,
    sweep,
    tail,
    wait_until_healthy,
)

SLEEP = "import time; time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"


STARTED: list[Started] = []  # to be waited for when a test has ended


def begun(one: StackService, folder: StackFolder) -> Started:
    STARTED.append(Started(one, folder))
    return STARTED[-1]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StackFolder]:
    made = StackFolder.at(tmp_path / "stack")
    made.make()
    yield made
    sweep(made)
    while STARTED:
        STARTED.pop().process.wait(10)


def service(
    folder: StackFolder, program: str, *, name: str = "one", grace_s: float = 5.0, as_group: bool = True,
    healthy: Callable[[float], bool] = lambda _: True,
) -> StackService:  # fmt: skip
    environment = {"PATH": os.environ["PATH"], OWNER: str(folder.path)}
    argv = (sys.executable, "-c", program)
    return StackService(name, argv, environment, folder.path, healthy, "http://127.0.0.1:1", grace_s, (), as_group)


def start(folder: StackFolder, *those: StackService) -> Record:
    return Record(services={one.name: begun(one, folder).running for one in those})


def until(holds: Callable[[], object], limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_process_is_found_again_by_its_id_and_start_time(folder: StackFolder) -> None:
    running = start(folder, service(folder, SLEEP)).services["one"]
    process = find(running)
    assert process is not None and process.pid == running.pid
    assert find(None) is None


def test_an_id_that_another_program_got_since_is_left_alone(folder: StackFolder) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP])
    started = psutil.Process(stranger.pid).create_time()
    record = Record(services={"one": Running(pid=stranger.pid, started=started - 60)})
    try:
        assert find(record.services["one"]) is None
        assert status([service(folder, SLEEP)], record)[0].state == "down"
        assert stop([service(folder, SLEEP)], record) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_one_that_ended_is_not_found_though_nobody_asked_for_its_exit_status(folder: StackFolder) -> None:
    running = start(folder, service(folder, "pass")).services["one"]
    until(lambda: find(running) is None)
    assert psutil.Process(running.pid).status() == psutil.STATUS_ZOMBIE


def test_what_dies_at_its_start_is_reported_at_once_with_the_end_of_its_log(folder: StackFolder) -> None:
    folder.log_file("one").write_text("lines of an earlier start\n")
    died = begun(service(folder, "print('no such disk'); raise SystemExit(3)", healthy=lambda _: False), folder)
    began = time.monotonic()
    with pytest.raises(StackError) as raised:
        wait_until_healthy([died], ["one"], limit_s=30)
    assert time.monotonic() - began < 10
    assert "exit status 3" in str(raised.value)
    assert "no such disk" in str(raised.value)
    assert str(folder.log_file("one")) in str(raised.value)
    assert "earlier start" not in str(raised.value)


def test_one_that_dies_is_reported_while_another_is_waited_for(folder: StackFolder) -> None:
    slow = begun(service(folder, SLEEP, name="slow", healthy=lambda _: False), folder)
    died = begun(service(folder, "raise SystemExit(4)", name="died"), folder)
    with pytest.raises(StackError, match="died ended at its start with exit status 4"):
        wait_until_healthy([slow, died], ["slow"], limit_s=30)


def test_one_that_never_answers_is_reported_after_the_limit(folder: StackFolder) -> None:
    mute = begun(service(folder, SLEEP, healthy=lambda _: False), folder)
    with pytest.raises(StackError, match=r"one was not ready within 0\.5 s"):
        wait_until_healthy([mute], ["one"], limit_s=0.5)


def test_status_is_running_unhealthy_or_down(folder: StackFolder) -> None:
    well, ill = service(folder, SLEEP, name="well"), service(folder, SLEEP, name="ill", healthy=lambda _: False)
    record = start(folder, well, ill)
    rows = status([well, ill, service(folder, SLEEP, name="gone")], record)
    assert [(row.name, row.state) for row in rows] == [("well", "running"), ("ill", "unhealthy"), ("gone", "down")]
    assert rows[0].since is not None and rows[2].pid is None


def test_stopping_ends_the_children_of_a_server_too(folder: StackFolder) -> None:
    program = (
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', '{SLEEP}']).pid, flush=True); {SLEEP}"
    )
    server = service(folder, program)
    record = start(folder, server)
    until(lambda: folder.log_file("one").read_text().endswith("\n"))
    child = int(folder.log_file("one").read_text())
    assert lives(child)
    assert stop([server], record) == ["one"]
    assert find(record.services["one"]) is None
    until(lambda: not lives(child))


def test_one_that_does_not_listen_is_ended_after_its_grace(folder: StackFolder) -> None:
    deaf = service(folder, DEAF, grace_s=0.5)
    record = start(folder, deaf)
    until(lambda: "deaf" in folder.log_file("one").read_text())
    began = time.monotonic()
    stop([deaf], record)
    assert find(record.services["one"]) is None
    assert 0.4 < time.monotonic() - began < 5


# A worker whose flow run leads a session of its own, as Prefect's does, and has a child in yet another one. The run
# prints that it received SIGTERM and whether its child was still there then; the worker, if it may, starts another run.
RUN = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
def terminated(number, _):
    print("run terminated", child.poll() is None, flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, terminated)
print("run", os.getpid(), child.pid, flush=True)
time.sleep(60)
"""
WORKER = f"""
import subprocess, sys
while True:
    subprocess.Popen([sys.executable, "-c", {RUN!r}], start_new_session=True).wait()
"""


def test_flow_runs_receive_the_signal_first_and_alone_and_the_worker_takes_no_other(
    folder: StackFolder,
) -> None:
    worker = service(folder, WORKER, as_group=False)
    record = start(folder, worker)
    log = folder.log_file("one")
    until(lambda: log.read_text().endswith("\n"))
    run, child = map(int, log.read_text().split()[1:])
    assert end_flow_runs(folder, [worker], record) == 1
    assert "run terminated True" in log.read_text()
    until(lambda: not lives(run) and not lives(child))
    assert psutil.Process(record.services["one"].pid).status() == psutil.STATUS_STOPPED
    assert stop([worker], record) == ["one"]
    assert log.read_text().count("run ") == 2  # its beginning and its end, and no second one
    until(lambda: not owned(folder))


def test_flow_runs_whose_worker_was_killed_are_found_and_ended(folder: StackFolder) -> None:
    worker = service(folder, WORKER, as_group=False)
    record = start(folder, worker)
    log = folder.log_file("one")
    until(lambda: log.read_text().endswith("\n"))
    run, child = map(int, log.read_text().split()[1:])
    os.kill(record.services["one"].pid, signal.SIGKILL)
    until(lambda: find(record.services["one"]) is None)
    assert end_flow_runs(folder, [worker], record) == 1
    until(lambda: not lives(run) and not lives(child))


def test_processes_of_another_stack_are_not_ours(folder: StackFolder, tmp_path: Path) -> None:
    other = StackFolder.at(tmp_path / "other")
    other.make()
    record = start(other, service(other, SLEEP))
    until(lambda: [process.pid for process in owned(other)] == [record.services["one"].pid])
    sweep(folder)
    assert find(record.services["one"]) is not None
    sweep(other)
    STARTED.pop().process.wait(10)
    assert find(record.services["one"]) is None


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    assert tail(log, 3) == []
    log.write_text("".join(f"line {n}\n" for n in range(10)))
    assert tail(log, 3) == ["line 7", "line 8", "line 9"]
    assert tail(log, 0) == []


def test_following_gives_whole_lines_as_they_come_and_notices_a_new_file(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    log.write_text("before\n")
    seen: list[str] = []

    def watch() -> None:
        for _, line in follow([log], wait_s=0.01):
            seen.append(line)
            if line == "end":
                return

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    time.sleep(0.1)
    with log.open("a") as file:
        file.write("first\nhalf")
        file.flush()
        until(lambda: seen == ["first"])
        file.write(" and half\n")
    until(lambda: seen == ["first", "half and half"])
    log.write_text("again\n")
    until(lambda: seen[-1] == "again")
    with log.open("a") as file:
        file.write("end\n")
    watching.join(10)
    assert seen == ["first", "half and half", "again", "end"]
