"""What a training's processes report in files, and how whoever started them reads it."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.training.hooks import Hooks
from models.training.worker.events import HELD, OUTBOX, Follower, Reporter


@pytest.fixture
def seen() -> list[tuple[Any, ...]]:
    return []


def following(folder: Path, seen: list[tuple[Any, ...]]) -> Follower:
    def content(folder: Path) -> str:
        return (folder / "weights").read_text()

    hooks = Hooks(
        on_checkpoint=lambda at, step: seen.append(("checkpoint", at.name, step, content(at))),
        on_metrics=lambda step, values: seen.append(("metrics", step, dict(values))),
        on_progress=lambda done, total: seen.append(("progress", done, total)),
        on_best=lambda at, step: seen.append(("best", step, content(at))),
        on_completions=lambda step, rows: seen.append(("completions", step, rows)),
    )
    return Follower(folder, hooks, lambda line: seen.append(("line", line)))


def checkpoint(scratch: Path, step: int, content: str = "") -> Path:
    folder = scratch / f"checkpoint-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text(content or f"of step {step}")
    return folder


def test_the_first_process_reports_everything_in_its_order(tmp_path: Path, seen: list[tuple[Any, ...]]) -> None:
    reporter, follower = Reporter(tmp_path, 0), following(tmp_path, seen)
    hooks = reporter.hooks()
    reporter.emit(started="from the start")
    hooks.on_progress(1, 4)
    hooks.on_metrics(1, {"loss": 0.5})
    hooks.on_completions(1, [{"completion": "a\nb", "advantage": 1.0}])
    best = checkpoint(tmp_path / "found", 1, "the best")
    hooks.on_best(best, 1)
    hooks.on_checkpoint(checkpoint(tmp_path / "trainer", 1), 1)
    reporter.done({"steps": 1})
    assert follower.take()
    assert seen == [
        ("line", "from the start"), ("progress", 1, 4), ("metrics", 1, {"loss": 0.5}),
        ("completions", 1, [{"completion": "a\nb", "advantage": 1.0}]),
        ("best", 1, "the best"), ("checkpoint", "checkpoint-1", 1, "of step 1"),
    ]  # fmt: skip
    assert follower.done
    assert follower.result() == {"steps": 1}
    assert not follower.take(), "something was reported twice"
    assert list((tmp_path / OUTBOX).iterdir()) == []


def test_other_processes_report_nothing_but_failures(tmp_path: Path, seen: list[tuple[Any, ...]]) -> None:
    reporter = Reporter(tmp_path, 1)
    reporter.hooks().on_metrics(1, {"loss": 0.5})
    reporter.done({})
    follower = following(tmp_path, seen)
    assert not follower.take()
    reporter.failed(RuntimeError("connection reset"), "where")
    assert follower.failure(final=True) is None, "the cause may be another process that was killed"
    found = follower.failure(final=False)
    assert found is not None
    assert (found["kind"], found["message"], found["rank"]) == ("RuntimeError", "connection reset", 1)


@pytest.mark.parametrize("error", [DataError("row 3 is empty"), MemoryError("Unable to allocate")])
def test_what_a_restart_cannot_mend_is_final(tmp_path: Path, seen: list[tuple[Any, ...]], error: Exception) -> None:
    Reporter(tmp_path, 1).failed(error, "")
    found = following(tmp_path, seen).failure(final=True)
    assert found is not None
    assert found["kind"] == type(error).__name__


def test_failures_of_an_attempt_before_the_last_do_not_count(tmp_path: Path, seen: list[tuple[Any, ...]]) -> None:
    reporter, follower = Reporter(tmp_path, 0), following(tmp_path, seen)
    reporter.failed(RuntimeError("connection reset"), "")
    time.sleep(0.01)
    reporter.emit(started="resuming")
    follower.take()
    assert follower.failure(final=False) is None


def test_a_checkpoint_that_goes_meanwhile_is_taken_as_it_was(tmp_path: Path, seen: list[tuple[Any, ...]]) -> None:
    """The trainer removes old checkpoints whether or not they have been taken."""
    folder = checkpoint(tmp_path / "trainer", 2)
    Reporter(tmp_path, 0).hooks().on_checkpoint(folder, 2)
    (folder / "weights").unlink()
    folder.rmdir()
    following(tmp_path, seen).take()
    assert seen == [("checkpoint", "checkpoint-2", 2, "of step 2")]


def test_training_waits_while_too_much_waits_to_be_taken(tmp_path: Path, seen: list[tuple[Any, ...]]) -> None:
    hooks = Reporter(tmp_path, 0).hooks()
    steps = range(1, HELD + 2)

    def train() -> None:
        for step in steps:
            hooks.on_checkpoint(checkpoint(tmp_path / "trainer", step), step)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    follower = following(tmp_path, seen)
    while thread.is_alive():
        follower.take()
    follower.take()
    thread.join()
    assert [one[1] for one in seen] == [f"checkpoint-{step}" for step in steps]


def test_an_attempt_begins_with_the_newest_whole_checkpoint_and_removes_later_ones(tmp_path: Path) -> None:
    scratch, reporter = tmp_path / "trainer", Reporter(tmp_path, 0)
    scratch.mkdir()
    assert reporter.begin(scratch) is None
    reporter.hooks().on_checkpoint(checkpoint(scratch, 2), 2)
    torn = checkpoint(scratch, 4)
    assert Reporter(tmp_path, 1).begin(scratch) == scratch / "checkpoint-2"
    assert torn.is_dir(), "another process than the first removed it"
    assert Reporter(tmp_path, 0).begin(scratch) == scratch / "checkpoint-2"
    assert not torn.exists()
    assert (scratch / "checkpoint-2" / "weights").read_text() == "of step 2"


def test_half_a_line_waits_for_its_end(tmp_path: Path, seen: list[tuple[Any, ...]]) -> None:
    follower = following(tmp_path, seen)
    descriptor = os.open(tmp_path / "events.jsonl", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b'{"progress": [1')
    follower.take()
    assert seen == []
    os.write(descriptor, b", 2]}\n")
    follower.take()
    os.close(descriptor)
    assert seen == [("progress", 1, 2)]
