"""What the processes of a training report, and how whoever started them reads it: files in the training's folder.

    <folder>/events.jsonl           what the first process reports, one JSON object a line
    <folder>/failed/<time>-<rank>   why a process failed, as JSON
    <folder>/outbox/<name>/         checkpoints and better models that are not taken yet
    <folder>/latest                 the name of the newest whole checkpoint in the plan's scratch folder
    <folder>/result.json            what the training returned

Files, so that the processes may be on other machines that share the folder.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import ThinkrewardError, is_out_of_memory
from models.training.hooks import Hooks

EVENTS, FAILED, OUTBOX, LATEST, RESULT = "events.jsonl", "failed", "outbox", "latest", "result.json"
HELD = 2  # checkpoints and models that may wait to be taken; with more, training waits
POLL_S = 0.1
PART = ".part"  # ends the name of what is being written


class Reporter:
    """A process's side: the first of a training reports everything, the others how they failed."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._folder, self._rank = folder, rank
        for name in (FAILED, OUTBOX):
            (folder / name).mkdir(exist_ok=True)

    def emit(self, **event: Any) -> None:
        """Report an event, of the first process."""
        if self._rank == 0:
            with (self._folder / EVENTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({**event, "time": time.time()}) + "\n")

    def hooks(self) -> Hooks:
        """Hooks that report."""
        return Hooks(
            on_checkpoint=self._checkpoint,
            on_metrics=lambda step, values: self.emit(metrics=dict(values), step=step),
            on_progress=lambda done, total: self.emit(progress=[done, total]),
            on_best=self._best,
            on_completions=lambda step, rows: self.emit(completions=rows, step=step),
        )

    def done(self, facts: Mapping[str, Any]) -> None:
        """The training has ended well."""
        if self._rank == 0:
            _replace(self._folder / RESULT, json.dumps(facts))
            self.emit(done=True)

    def failed(self, error: BaseException, trace: str) -> None:
        """This process fails."""
        report = {
            "kind": type(error).__name__,
            "message": str(error),
            "trace": trace,
            "final": isinstance(error, ThinkrewardError),  # known: to start it again would end the same way
            "memory": is_out_of_memory(error),
            "rank": self._rank,
            "time": time.time(),
        }
        _replace(self._folder / FAILED / f"{time.time_ns()}-{self._rank}", json.dumps(report))

    def begin(self, scratch: Path) -> Path | None:
        """The newest whole checkpoint that an earlier attempt left in `scratch`; the first process removes later ones.

        They may not be whole, and are written again.
        """
        latest = newest_checkpoint(self._folder, scratch)
        if self._rank == 0:
            for left in (self._folder / OUTBOX).glob(f"*{PART}"):
                shutil.rmtree(left)
            kept = _step_of(latest.name) if latest is not None else None
            for found in scratch.glob("checkpoint-*"):
                if kept is not None and _step_of(found.name) > kept:
                    shutil.rmtree(found)
        return latest

    def _checkpoint(self, folder: Path, step: int) -> None:
        _replace(self._folder / LATEST, folder.name)
        if self._put(folder, folder.name, shutil.copytree):
            self.emit(checkpoint=folder.name, step=step)

    def _best(self, folder: Path, step: int) -> None:
        if self._put(folder, f"best-{step}", shutil.move):
            self.emit(best=f"best-{step}", step=step)

    def _put(self, folder: Path, name: str, how: Any) -> bool:
        """Leave a folder in the outbox, once there is room; False if it is there already."""
        outbox = self._folder / OUTBOX
        while sum(1 for _ in outbox.iterdir()) >= HELD and not (outbox / name).exists():
            time.sleep(POLL_S)
        if (outbox / name).exists():
            return False
        part = outbox / f"{name}{PART}"
        if how is shutil.copytree:
            shutil.copytree(folder, part, copy_function=_link)
        else:
            how(folder, part)
        os.rename(part, outbox / name)
        return True


class Follower:
    """The side of whoever started a training: passes what is reported on to `hooks`, and keeps how it ended.

    `log` takes lines for people.
    """

    def __init__(self, folder: Path, hooks: Hooks, log: Any) -> None:
        self._folder, self._hooks, self._log = folder, hooks, log
        self._read, self._rest = 0, b""
        self._started = 0.0
        self.attempts = 0
        self.done = False

    def take(self) -> bool:
        """Pass on what has been reported since; whether there was anything."""
        path = self._folder / EVENTS
        if not path.is_file() or path.stat().st_size == self._read:
            return False
        with path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._pass_on(json.loads(line))
        return True

    def failure(self, *, final: bool) -> dict[str, Any] | None:
        """The first failure that was reported since the processes last started; `final`: one that ends the training."""
        files = [one for one in (self._folder / FAILED).glob("*-*") if one.suffix != PART]
        found: list[dict[str, Any]] = [json.loads(one.read_text()) for one in files]
        current = [one for one in found if one["time"] >= self._started]
        named = [one for one in current if one["final"] or one["memory"]]
        return min(named if final else named or current, key=lambda one: float(one["time"]), default=None)

    def result(self) -> dict[str, Any]:
        """What the training returned."""
        facts: dict[str, Any] = json.loads((self._folder / RESULT).read_text())
        return facts

    def _pass_on(self, event: dict[str, Any]) -> None:
        hooks, step = self._hooks, int(event.get("step", 0))
        if "metrics" in event:
            hooks.on_metrics(step, event["metrics"])
        elif "progress" in event:
            hooks.on_progress(*event["progress"])
        elif "completions" in event:
            hooks.on_completions(step, event["completions"])
        elif "checkpoint" in event:
            self._take(event["checkpoint"], step, hooks.on_checkpoint)
        elif "best" in event:
            self._take(event["best"], step, hooks.on_best)
        elif "started" in event:
            self.attempts += 1
            self._started = float(event["time"])
            self._log(f"{event['started']}" + (f" (restart {self.attempts - 1})" if self.attempts > 1 else ""))
        elif "done" in event:
            self.done = True

    def _take(self, name: str, step: int, hook: Any) -> None:
        folder = self._folder / OUTBOX / name
        hook(folder, step)
        shutil.rmtree(folder)


def newest_checkpoint(folder: Path, scratch: Path) -> Path | None:
    """The newest whole checkpoint of a training's folder, or None."""
    try:
        found = scratch / (folder / LATEST).read_text()
    except FileNotFoundError:
        return None
    return found if found.is_dir() else None


def _step_of(name: str) -> int:
    return int(name.rpartition("-")[2])


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + PART)
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _link(source: str, target: str) -> None:
    """A second name for a file, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
