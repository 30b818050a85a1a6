"""`kill -9` at random moments, of everything the pipeline stands on: does it end with an undisturbed run's digests?

    python -m tests.proofs.kill_services [--kills 20] [--seed 0] [--only WHAT] [--nightly] [--folder DIR] [--out FILE]

Starts a local stack, runs the recipe once undisturbed, then again and again takes away the result of rejection
sampling or GRPO, runs its deployment, and kills one thing in the middle: the flow's process, its worker, S3, MLflow, or
Prefect's server. What is missing is started again, and the run retried with `prefect flow-run retry` if it did not come
through by itself. Prints a table: what was killed and when, how the run came through, whether the digests are the same,
and what was made twice (shards and checkpoints that were in the store at the kill, and were written once more).
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from models.errors import StoreError
from tests.proofs.local_stack import FINAL, LocalStack

STAGES = ("rejection-sampling", "grpo")
TARGETS = ("flow", "worker-gpu", "s3", "mlflow", "prefect")
OF_NIGHTLY = ("nightly", "worker-cpu", "prefect", "s3")  # with --nightly, which runs the stages through it
LONGER = {  # enough shards and checkpoints to be killed between
    "rejection_sampling__pairs": 16,
    "rejection_sampling__shard_pairs": 8,
    "rejection_sampling__sft__epochs": 6.0,
    "grpo__pairs": 24,
}
UP_AGAIN_S = 900.0


@dataclass
class Kill:
    """One line of the table; seconds are since the stage's process began to work, and since the kill."""

    stage: str
    target: str
    after_s: float
    at: str = ""
    came_through: str = ""
    same: bool = False
    twice: int = 0
    seconds: float = 0.0
    nightly: bool = False


def main() -> int:
    """Runs the kills and prints the table; exit status 1 if one did not end with the same digests."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", help=f"kill this alone, of {', '.join(dict.fromkeys(TARGETS + OF_NIGHTLY))}")
    arguments.add_argument("--nightly", action="store_true", help="run the stages through nightly/default")
    arguments.add_argument("--folder", type=Path, help="keep the stack's data here, and begin with what is there")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    chance = random.Random(given.seed)
    targets = (given.only,) if given.only else OF_NIGHTLY if given.nightly else TARGETS
    cases = [(STAGES[n % 2], targets[n // 2 % len(targets)]) for n in range(given.kills)]
    kills: list[Kill] = []
    with (
        tempfile.TemporaryDirectory(prefix="thinkreward-kills-") as aside,
        LocalStack(given.folder or Path(aside), **LONGER) as stack,
    ):
        tell(f"undisturbed nightly: {stack.wait(stack.start('nightly/default'))['state_type']}")
        whole = {stage: stack.digests(stage) for stage in STAGES}
        lengths = {stage: float(stack.store().entries(stage)[0].facts["seconds"]) for stage in STAGES}
        tell(f"seconds undisturbed: {lengths}")
        for stage, target in cases:
            kill = Kill(stage, target, round(chance.uniform(0.1, 0.9) * lengths[stage], 1), nightly=given.nightly)
            disturb(stack, kill, whole[stage])
            kills.append(kill)
            tell(line(kill))
            if given.out:
                given.out.write_text(json.dumps([asdict(one) for one in kills], indent=1) + "\n")
    tell("")
    tell(line(None))
    for kill in kills:
        tell(line(kill))
    bad = [kill for kill in kills if not kill.same or kill.twice]
    tell(f"\n{len(kills)} kills, {len(kills) - len(bad)} with the same digests and nothing made twice")
    return bool(bad)


def disturb(stack: LocalStack, kill: Kill, whole: dict[str, str]) -> None:
    """One stage, killed once, brought to its end."""
    key = stack.store().entries(kill.stage)[0].key
    with watched(stack, kill.stage, key) as written:
        run = begin(stack, kill, key, written)
        while not at_work(stack):  # it was faster than the undisturbed one
            stack.wait(run)
            kill.after_s = round(kill.after_s / 2, 1)
            run = begin(stack, kill, key, written)
        flows = {"flow": "worker-gpu", "nightly": "worker-cpu"}  # whose only child is the flow's process
        worker = flows.get(kill.target)
        victim = stack.process(worker).children()[0] if worker else stack.process(kill.target)
        victim.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        end_group_of(stack, kill.target)
        stack.up()
        retried = bring_to_its_end(stack, run)
        kill.seconds = round(time.monotonic() - killed, 1)
    kill.came_through = f"after {retried} retries" if retried else "by itself"
    kill.same = stack.digests(kill.stage) == whole
    kill.twice = written.twice


def begin(stack: LocalStack, kill: Kill, key: str, written: "Written") -> str:
    """Take the stage's result away and have it made again, up to the moment of the kill."""
    stack.store().forget(kill.stage, key)
    run = stack.start("nightly/default" if kill.nightly else f"{kill.stage}/default")
    stack.until(lambda: at_work(stack), f"{kill.stage} is at work")
    time.sleep(kill.after_s)
    kill.at = progress(stack, kill.stage, key)
    written.before = set(written.look())
    written.seen.clear()  # an attempt that came too late wrote the same paths
    return run


def at_work(stack: LocalStack) -> bool:
    """Whether a stage's own process is there."""
    return any("tasks.launching" in " ".join(process.cmdline()) for process in alive(stack))


def alive(stack: LocalStack) -> Iterator[psutil.Process]:
    """The processes below the worker that can still be asked."""
    for process in stack.stage_processes():
        try:
            process.cmdline()
        except psutil.Error:
            continue
        yield process


def end_group_of(stack: LocalStack, target: str) -> None:
    """A machine that dies takes a server's helpers with it; a worker's flow runs have to leave by themselves."""
    if target in ("s3", "mlflow", "prefect"):
        record = stack.state.record().services[target]
        try:
            os.killpg(record.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def bring_to_its_end(stack: LocalStack, run: str) -> int:
    """Wait for the run, and retry it as a person would whenever it failed or crashed; how often that was."""
    retried, deadline = 0, time.monotonic() + UP_AGAIN_S
    while True:
        if time.monotonic() > deadline:
            raise AssertionError(f"{run} has not come through in {UP_AGAIN_S} s: {stack.run(run)['state']}")
        state = stack.run(run)["state_type"]
        if state == "COMPLETED":
            return retried
        if state in FINAL:
            stack.command("prefect", "flow-run", "retry", run)
            retried += 1
        time.sleep(1)


def progress(stack: LocalStack, stage: str, key: str) -> str:
    """How far the stage was: shards and checkpoints in the store."""
    found = [one.path for one in stack.store().objects.walk(f"work/{stage}/{key}")]
    shards = sum("/blobs/shards/" in path for path in found)
    steps = [path.split("/trees/")[1].split("/")[0] for path in found if path.endswith("COMPLETE.json")]
    return ", ".join([f"{shards} shards"] * bool(shards) + sorted(steps)) or "nothing kept yet"


class Written:
    """The shards and checkpoints of a stage's work as the store shows them over time."""

    def __init__(self, stack: LocalStack, stage: str, key: str) -> None:
        self._stack, self._prefix = stack, f"work/{stage}/{key}"
        self.before: set[tuple[str, float]] = set()
        self.seen: dict[str, set[float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def look(self) -> list[tuple[str, float]]:
        """Path and time of each that is there."""
        found = self._stack.store().objects.walk(self._prefix)
        return [(f.path, f.modified) for f in found if "/blobs/shards/" in f.path or f.path.endswith("COMPLETE.json")]

    @property
    def twice(self) -> int:
        """How many that were there before the kill have been written again since."""
        return sum(len(self.seen.get(path, set()) - {when}) > 0 for path, when in self.before)

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            try:
                for path, when in self.look():
                    self.seen.setdefault(path, set()).add(when)
            except StoreError:  # it is away, having been killed
                continue


@contextmanager
def watched(stack: LocalStack, stage: str, key: str) -> Iterator[Written]:
    """Watches the work of a stage in the background."""
    written = Written(stack, stage, key)
    written._thread.start()
    try:
        yield written
    finally:
        written._stop.set()
        written._thread.join()


def line(kill: Kill | None) -> str:
    """A row of the table, or its heading."""
    cells = (
        ("stage", "killed", "after s", "with in the store", "came through", "in s", "same digests", "made twice")
        if kill is None
        else (
            kill.stage, kill.target, f"{kill.after_s:.1f}", kill.at, kill.came_through, f"{kill.seconds:.0f}",
            "yes" if kill.same else "NO", str(kill.twice),
        )
    )  # fmt: skip
    widths = (19, 11, 8, 42, 16, 5, 13, 10)
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def tell(text: str) -> None:
    """A line of the script's output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
