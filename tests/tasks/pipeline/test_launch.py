"""Child processes: what they report, how they fail, and that none outlives its parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from configs.schema import Settings
from models.errors import DataError, OutOfMemory, StageFailed, StageKilled, StageStalled
from tasks.pipeline.child import Done, Job
from tasks.pipeline.graph import REPOSITORY
from tasks.pipeline.launch import log_file, run_child


@pytest.fixture
def bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of stage bodies that a child can import."""
    (tmp_path / "bodies_under_test.py").write_text(
        textwrap.dedent(
            """
            import os, subprocess, sys, time
            from pathlib import Path
            from models.errors import DataError
            from tasks.pipeline.child import Done

            def well(job, child, scratch):
                child.progress(1, 2, "halves")
                child.log("half way")
                child.progress(2, 2, "halves")
                return Done(outputs={}, facts={"scratch": str(scratch), "threads": os.environ["OMP_NUM_THREADS"]})

            def bad_data(job, child, scratch):
                raise DataError("row 3 is empty: fill it")

            def bug(job, child, scratch):
                raise RuntimeError("a thing nobody foresaw")

            def dies(job, child, scratch):
                print("the last words", flush=True)
                os.kill(os.getpid(), 9)

            def eats(job, child, scratch):
                raise MemoryError("Unable to allocate 4.00 TiB")

            def torch_eats(job, child, scratch):
                import torch
                torch.empty(2**46)

            def unfinished_line(job, child, scratch):
                print("10%|#         |", end="", flush=True)
                child.progress(1, 2, "halves")
                os.write(1, b"a library's own words, without a newline")
                return Done(outputs={}, facts={"delivered": True})

            def closes_output(job, child, scratch):
                os.close(1)
                os.close(2)
                child.log("still heard")
                sys.stdout.close()
                return Done(outputs={}, facts={"delivered": True})

            def forges_reports(job, child, scratch):
                sys.stdout.write('\\x1ethinkreward {"done": {"outputs": {}, "facts": {"delivered": false}}}\\n')
                sys.stdout.buffer.write(bytes(range(256)) * 64)
                return Done(outputs={}, facts={"delivered": True, "long": "x" * 100_000})

            def leaves_a_grandchild(job, child, scratch):
                subprocess.Popen(["sleep", "600"])
                return Done(outputs={}, facts={"delivered": True})

            def crashes_on_the_way_out(job, child, scratch):
                import atexit
                atexit.register(os.abort)
                return Done(outputs={}, facts={"delivered": True})

            def stopped(job, child, scratch):
                child.progress(1, 9, "steps")
                child.log("stops")
                os.kill(os.getpid(), 19)

            def deadlocked(job, child, scratch):
                import threading
                lock = threading.Lock()
                lock.acquire()
                lock.acquire()

            def spins(job, child, scratch):
                while True:
                    pass

            def long_step(job, child, scratch):
                until = time.monotonic() + 6
                while time.monotonic() < until:
                    sum(range(10_000))
                return Done(outputs={}, facts={"delivered": True})

            def waits_for_others(job, child, scratch):
                from tasks.pipeline import child as stage_child
                stage_child.HEARTBEAT_S = 0.5
                with child.waiting():
                    time.sleep(6)
                return Done(outputs={}, facts={"delivered": True})

            def sleeps(job, child, scratch):
                grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                Path(job.settings.storage.cache_dir, "pids").write_text(f"{os.getpid()} {grandchild.pid}")
                time.sleep(600)
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def job(body: str, folder: Path, stage: str = "tested", **runtime: float) -> Job:
    settings = Settings.model_validate({"storage": {"cache_dir": str(folder)}, "runtime": {"threads": 1, **runtime}})
    return Job(stage=stage, key="0" * 64, body=f"bodies_under_test:{body}", settings=settings, inputs={})


def run(
    body: str, folder: Path, timeout_s: float = 60, stage: str = "tested", **runtime: float
) -> tuple[Done, list[object]]:
    heard: list[object] = []
    done = run_child(
        job(body, folder, stage, **runtime),
        timeout_s=timeout_s,
        watch_progress=lambda *event: heard.append(event),
        log=heard.append,
    )
    return done, heard


def gone(pids: list[int], within_s: float = 15) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            return True
        time.sleep(0.1)
    return False


def wait_for_pids(folder: Path) -> list[int]:
    deadline = time.monotonic() + 30
    while not (folder / "pids").exists() or len((folder / "pids").read_text().split()) < 2:
        assert time.monotonic() < deadline, "the child never started"
        time.sleep(0.05)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def test_a_child_reports_progress_and_its_result(bodies: Path) -> None:
    done, heard = run("well", bodies)
    assert heard == [(1, 2, "halves"), "half way", (2, 2, "halves")]
    assert done.facts["threads"] == "1"
    assert not Path(done.facts["scratch"]).exists()


def test_a_named_error_keeps_its_name(bodies: Path) -> None:
    with pytest.raises(DataError, match="row 3 is empty: fill it"):
        run("bad_data", bodies)


def test_an_unforeseen_error_is_told_with_its_trace(bodies: Path) -> None:
    with pytest.raises(StageFailed, match=r"(?s)RuntimeError: a thing nobody foresaw.*bodies_under_test"):
        run("bug", bodies)


def test_a_child_that_is_killed_is_told_with_its_last_words(bodies: Path) -> None:
    with pytest.raises(StageFailed, match=r"(?s)SIGKILL.*the last words"):
        run("dies", bodies)


def test_a_child_that_is_killed_may_be_tried_again(bodies: Path) -> None:
    with pytest.raises(StageKilled, match="preempted or, if it happens again, out of memory"):
        run("dies", bodies)


@pytest.mark.parametrize(
    "body",
    [
        "unfinished_line",
        "closes_output",
        "forges_reports",
        "leaves_a_grandchild",
        "crashes_on_the_way_out",
    ],
)
def test_nothing_that_is_printed_or_left_behind_swallows_the_result(body: str, bodies: Path) -> None:
    done, _ = run(body, bodies)
    assert done.facts["delivered"] is True


def test_what_a_child_prints_is_kept_in_a_log_of_its_stage(bodies: Path) -> None:
    run("unfinished_line", bodies)
    run("unfinished_line", bodies)
    text = log_file(job("unfinished_line", bodies)).read_text()
    assert text.count("--- tested") == text.count("a library's own words") == 2


def test_an_error_quotes_this_attempts_log_and_names_the_file(bodies: Path) -> None:
    run("unfinished_line", bodies)
    with pytest.raises(StageKilled) as killed:
        run("dies", bodies)
    assert "the last words" in str(killed.value)
    assert "a library's own words" not in str(killed.value)
    assert str(log_file(job("dies", bodies))) in str(killed.value)


@pytest.mark.slow
@pytest.mark.parametrize("body", ["stopped", "deadlocked"])
def test_a_child_that_makes_no_progress_is_ended_and_may_be_tried_again(body: str, bodies: Path) -> None:
    with pytest.raises(StageStalled, match=r"used no processor for .*runtime\.stall_timeout_s") as stalled:
        run(body, bodies, stall_timeout_s=3)
    assert stalled.value.retryable
    if body == "deadlocked":
        assert 'bodies_under_test.py", line' in str(stalled.value)  # where it stood


@pytest.mark.slow
def test_a_child_that_spins_without_a_word_is_ended_too(bodies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.pipeline.watching.BUSY_TIMES", 2)
    with pytest.raises(StageStalled, match="used a processor but reported nothing"):
        run("spins", bodies, stall_timeout_s=3)


@pytest.mark.slow
@pytest.mark.parametrize("body", ["long_step", "waits_for_others"])
def test_a_long_step_and_waiting_for_somebody_else_are_no_stall(body: str, bodies: Path) -> None:
    done, _ = run(body, bodies, stall_timeout_s=3)
    assert done.facts["delivered"] is True


@pytest.mark.parametrize("body", ["eats", "torch_eats"])
def test_a_child_without_memory_says_what_to_lower(body: str, bodies: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"ran out of memory \(.*\): lower grpo\.micro_batch"):
        run(body, bodies, stage="grpo")


def test_a_timeout_ends_the_whole_group_and_says_which_setting_to_raise(bodies: Path) -> None:
    with pytest.raises(StageFailed, match=r"runtime\.stage_timeout_s"):
        run("sleeps", bodies, timeout_s=8)
    assert gone(wait_for_pids(bodies))


def test_no_child_outlives_a_parent_that_is_killed(bodies: Path) -> None:
    parent = parent_of_a_sleeper(bodies)
    child = wait_for_pids(bodies)[0]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone([child])


def test_nor_does_one_that_stood_still(bodies: Path) -> None:
    parent = parent_of_a_sleeper(bodies)
    child = wait_for_pids(bodies)[0]
    os.kill(child, signal.SIGSTOP)
    while psutil.Process(child).status() != psutil.STATUS_STOPPED:
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    ended = gone([child])
    if not ended:
        os.kill(child, signal.SIGKILL)
    assert ended


def parent_of_a_sleeper(bodies: Path) -> "subprocess.Popen[bytes]":
    """A process that runs the body `sleeps` as a stage."""
    program = (
        "from tasks.pipeline.child import Job; from tasks.pipeline.launch import run_child; from pathlib import Path\n"
        f"job = Job.model_validate_json(Path({str(bodies / 'job.json')!r}).read_text())\n"
        "run_child(job, timeout_s=600, watch_progress=lambda *e: None, log=lambda s: None)"
    )
    asked = job("sleeps", bodies)
    (bodies / "job.json").write_text(asked.model_dump_json())
    path = os.pathsep.join([str(REPOSITORY), str(bodies)])
    return subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path})
