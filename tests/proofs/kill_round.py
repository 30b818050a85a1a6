"""One run of a deployment on a local stack, and the processes below it that are killed while it runs."""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tasks.stack.supervision import owned
from tests.proofs.kill_watch import MADE, STEPS, Written
from tests.proofs.local_stack import FINAL, LocalStack

SERVICES = ("worker-gpu", "worker-cpu", "s3", "mlflow", "prefect")
TARGETS = ("stage", "flow", "nightly", *SERVICES)
OF_NIGHTLIES = ("nightly", "worker-cpu")  # a stage's own run has neither
PAUSE_S = (3.0, 45.0)  # from one kill to the next at any moment, drawn evenly
WORK_S = (0.0, 12.0)  # to the next amid work, from when something has been kept in the store since
GIVEN_UP_S = 900.0  # after the last kill
POLL_S = 1.0


@dataclass
class Kill:
    """One line of the record; seconds are since the run was asked for, and since the kill."""

    round: int
    run: str
    target: str
    after_s: float
    stage: str = ""  # whose process was there
    at: str = ""  # what was in the store of it
    retries: int = 0  # by hand, before the next kill or the end
    next_kept_s: float | None = None  # until the next shard, answer, checkpoint or result was in the store
    end_s: float = 0.0
    same: bool = False
    twice: int = 0  # of what was in the store, how much has been made again
    fault: str = ""


class Processes:
    """What runs below a stack's services at one moment."""

    def __init__(self, stack: LocalStack) -> None:
        self.stages: list[psutil.Process] = []
        self.flows: dict[str, psutil.Process] = {}  # by flow run
        for process in owned(stack.state):
            with suppress(psutil.Error):
                self._sort(process, process.cmdline(), process.environ().get("PREFECT__FLOW_RUN_ID"))

    def _sort(self, process: psutil.Process, words: list[str], flow_run: str | None) -> None:
        if "tasks.pipeline.child" in words:
            self.stages.append(process)
        elif flow_run and any(word.startswith("prefect.") for word in words):
            self.flows[flow_run] = process

    def job(self) -> tuple[str, str]:
        """Stage and key of the stage's process; empty if there is none, or it has just begun or ended."""
        for process in self.stages:
            with suppress(psutil.Error, OSError, ValueError, KeyError):
                job = json.loads(Path(process.cmdline()[-1]).read_text())
                return str(job["stage"]), str(job["key"])
        return "", ""


class Moments:
    """When to kill next: in turn at any moment, and amid work, which a busy machine is long in coming to."""

    def __init__(self, chance: random.Random, written: Written) -> None:
        self._chance, self._written = chance, written
        self._amid_work = chance.random() < 0.5
        self.next()

    def next(self) -> None:
        """Count from now on."""
        self._from = time.monotonic()
        self._amid_work = not self._amid_work
        self._pause_s = self._chance.uniform(*(WORK_S if self._amid_work else PAUSE_S))

    def come(self) -> bool:
        """Whether it is time."""
        since = self._written.first_after(self._from) if self._amid_work else self._from
        return since is not None and time.monotonic() > since + self._pause_s


class Round:
    """One run of `name/default`, disturbed `kills` times while it is running, and brought to its end."""

    def __init__(self, stack: LocalStack, number: int, name: str, chance: random.Random) -> None:
        self.stack, self.number, self.name = stack, number, name
        self.kills: list[Kill] = []
        self.remade = MADE if name == "nightly" else (name,)
        self._chance = chance
        self._run = ""
        self._began = 0.0
        self._times: list[float] = []
        self._before: list[dict[str, float]] = []

    def play(self, kills: int, counts: Counter[str], whole: dict[str, dict[str, str]]) -> list[Kill]:
        """Take the results away, have them made again under kills of what `counts` says was killed least."""
        self._forget()
        with Written(self.stack) as written:
            self._began = time.monotonic()
            self._run = self.stack.start(f"{self.name}/default")
            fault = self._through(kills, Counter(counts), written)
            ended = time.monotonic()
            same = not fault and {stage: self.stack.digests(stage) for stage in self.remade} == {
                stage: whole[stage] for stage in self.remade
            }
            written.stop()
        for kill, when, before in zip(self.kills, self._times, self._before, strict=True):
            kill.end_s, kill.same, kill.fault = round(ended - when, 1), same, fault
            kill.twice = written.twice(before)
            kept = written.first_after(when)
            kill.next_kept_s = None if kept is None else round(kept - when, 1)
        return self.kills

    def _forget(self) -> None:
        store = self.stack.store()
        for step in (step for stage in self.remade for step in STEPS[stage]):
            for entry in store.entries(step):
                store.forget(step, entry.key)
        if "distill" in self.remade:
            store.objects.remove_tree("work/teacher")  # answers outlive their stage

    def _through(self, kills: int, counts: Counter[str], written: Written) -> str:
        """Kill and retry until the run has completed; why it did not, if so."""
        moments = Moments(self._chance, written)
        deadline = time.monotonic() + GIVEN_UP_S
        while (state := self._state()) != "COMPLETED":
            if time.monotonic() > deadline:
                said = f"{state or 'no answer'} after {GIVEN_UP_S:g} s: {self._last_words()}"
                self._set_state("CANCELLED", "Given up")
                return said
            if state in FINAL:
                self._retry()
            elif len(self.kills) < kills and moments.come() and self._kill(counts, written):
                moments.next()
                deadline = time.monotonic() + GIVEN_UP_S
            time.sleep(POLL_S)
        return ""

    def _state(self) -> str:
        """The run's state; empty while Prefect does not answer."""
        with suppress(httpx.HTTPError):
            return str(self.stack.run(self._run)["state_type"])
        return ""

    def _retry(self) -> None:
        """What `prefect flow-run retry` does, without starting Python for it."""
        if self._set_state("SCHEDULED", "Retried") and self.kills:
            self.kills[-1].retries += 1

    def _set_state(self, kind: str, message: str) -> bool:
        with suppress(httpx.HTTPError):
            state = {"type": kind, "message": message}
            self.stack.api("POST", f"flow_runs/{self._run}/set_state", state=state, force=True)
            return True
        return False

    def _kill(self, counts: Counter[str], written: Written) -> bool:
        """One kill of what was killed least so far, of what is there now; False if nothing is running."""
        there = Processes(self.stack)
        if not there.flows:
            return False
        victims = self._victims(there)
        least = min(counts[target] for target in victims)
        target = self._chance.choice(sorted(one for one in victims if counts[one] == least))
        stage, key = there.job()
        kill = Kill(self.number, self.name, target, round(time.monotonic() - self._began, 1), stage)
        kill.at = written.progress(stage, key)
        before = written.latest()
        if not victims[target]():
            return False
        self._times.append(time.monotonic())
        self._before.append(before)
        self.kills.append(kill)
        counts[target] += 1
        if target in SERVICES:
            self.stack.restart(target)
        return True

    def _victims(self, there: Processes) -> dict[str, Callable[[], bool]]:
        def one(process: psutil.Process) -> Callable[[], bool]:
            return lambda: _killed(process)

        found: dict[str, Callable[[], bool]] = {}
        if there.stages:
            found["stage"] = one(there.stages[0])
        for flow_run, process in there.flows.items():
            found["nightly" if self.name == "nightly" and flow_run == self._run else "flow"] = one(process)
        for name in SERVICES:
            if self.name == "nightly" or name not in OF_NIGHTLIES:
                found[name] = lambda name=name: self._killed_service(name)  # type: ignore[misc]
        return found

    def _killed_service(self, name: str) -> bool:
        """A machine that dies takes a server's helpers with it; a worker's flow runs have to leave by themselves."""
        with suppress(psutil.Error, ProcessLookupError):
            process = self.stack.process(name)
            if name.startswith("worker-"):
                return _killed(process)
            os.killpg(process.pid, signal.SIGKILL)
            return True
        return False

    def _last_words(self) -> str:
        with suppress(httpx.HTTPError):
            runs: list[dict[str, Any]] = self.stack.api("POST", "flow_runs/filter", sort="START_TIME_DESC", limit=4)
            said = [f"{run['name']} {run['state_type']}: {run['state'].get('message')}" for run in runs]
            return "; ".join(said) + "\n" + self.stack.logs(self._run)[-2000:]
        return "Prefect does not answer"


def _killed(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        process.send_signal(signal.SIGKILL)
        return True
    return False


def rounds(per_stage: int, per_nightly: int) -> Iterator[tuple[str, int]]:
    """Which deployment runs next, and how often it is killed: a nightly, then each training stage by itself."""
    while True:
        yield "nightly", per_nightly
        for stage in ("cold-start", "rejection-sampling", "grpo"):
            yield stage, per_stage
