"""`kill -9` at random moments, of everything the pipeline stands on: does it end with an undisturbed run's digests?

    python -m tests.proofs.kill_services [--kills 20] [--seed 0] [--folder DIR] [--out FILE] [--resume]
                                         [--in-nightly 16] [--in-stage 6]

Trains a base that knows the grammar, starts a local stack and runs the recipe once undisturbed. Then again and again it
takes results away and has them made once more: all of the recipe by a nightly, then each training stage by its own
deployment, in turn. Each of these runs is disturbed several times, at moments drawn at random: killed is the stage's
process, its flow's, the nightly's, a worker, S3, MLflow or Prefect's server, always one of those that were killed least
so far. A service is started again at once, as a supervisor would, and a run that failed or crashed is retried as
`prefect flow-run retry` does it.

Prints what was killed and when, how the run came through, whether the digests are the same, and what was made twice
(shards, answers, checkpoints and results that were in the store at the kill, and were written once more); then a table
by target. FILE has all of it after each run; with --resume and --folder, what it has is not done again.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from configs.load import load_settings
from tasks.pipeline.run import open_store
from tests.proofs.kill_round import TARGETS, Kill, Round, rounds
from tests.proofs.kill_watch import MADE
from tests.proofs.local_stack import LocalStack
from tests.tasks import small_recipe as small

SHORT = {  # few steps, with a checkpoint after each: they are enough for a base that knows the grammar
    "prepare__train_pairs": 64,
    "prepare__held_out_pairs": 2,
    "distill__pairs": 48,
    "distill__other_pairs": 8,
    "cold_start__epochs": 3.0,
    "cold_start__checkpoint_every": 1,
    "cold_start__learning_rate": 1e-4,
    "rejection_sampling__pairs": 4,
    "rejection_sampling__shard_pairs": 2,
    "rejection_sampling__sft__epochs": 2.0,
    "rejection_sampling__sft__checkpoint_every": 1,
    "grpo__pairs": 16,
    "grpo__checkpoint_every": 1,
}


@dataclass
class Record:
    """What was done so far: the undisturbed digests by stage, and each kill."""

    whole: dict[str, dict[str, str]] = field(default_factory=dict)
    undisturbed_s: float = 0.0
    rounds: int = 0
    kills: list[Kill] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Record":
        """The record that an earlier call left."""
        found = json.loads(path.read_text())
        return cls(**{**found, "kills": [Kill(**one) for one in found["kills"]]})

    def write(self, path: Path | None) -> None:
        """Whole or not at all."""
        if path:
            aside = path.with_suffix(".new")
            aside.write_text(json.dumps(asdict(self), indent=1) + "\n")
            aside.replace(path)


def main() -> int:
    """Runs the kills and prints the tables; exit status 1 if one did not end with the same digests."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--in-nightly", type=int, default=16, help="kills in one nightly")
    arguments.add_argument("--in-stage", type=int, default=6, help="kills in one stage's own run")
    arguments.add_argument("--folder", type=Path, help="keep the stack's data here, and begin with what is there")
    arguments.add_argument("--out", type=Path, help="keep the record here")
    arguments.add_argument("--resume", action="store_true", help="go on after what --out has")
    given = arguments.parse_args()
    if given.resume and not (given.folder and given.out):
        arguments.error("--resume needs the --folder and the --out of before")
    record = Record.read(given.out) if given.resume and given.out.exists() else Record()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stack ends with this program
    with folder(given.folder) as path, LocalStack(path, model__base=str(taught(path)), **SHORT) as stack:
        if not record.whole:
            undisturbed(stack, record)
            record.write(given.out)
        kill_on(stack, record, given)
    tell("\n" + by_target(record.kills))
    bad = [kill for kill in record.kills if not kill.same or kill.twice]
    tell(f"\n{len(record.kills)} kills, {len(record.kills) - len(bad)} with the same digests and nothing made twice")
    return bool(bad)


@contextmanager
def folder(given: Path | None) -> Iterator[Path]:
    """The folder that was given, or one for this call alone."""
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="thinkreward-kills-") as aside:
        yield Path(aside)


def taught(path: Path) -> Path:
    """A base that knows the grammar: the small recipe's cold-started model, trained below `path` if it is not there."""
    model = path / "taught"
    if not model.is_dir():
        small.run("run", "prepare", "distill", "cold-start", folder=path / "teaching")
        store = open_store(load_settings("shapes", small.sets(path / "teaching")))
        found = store.fetch(store.entries("cold-start")[0].outputs["model"])
        shutil.copytree(found, path / "new")
        (path / "new").rename(model)
    return model


def undisturbed(stack: LocalStack, record: Record) -> None:
    """The recipe from nothing, as a nightly."""
    began = time.monotonic()
    state = stack.wait(stack.start("nightly/default"), timeout_s=1800)["state_type"]
    record.undisturbed_s = round(time.monotonic() - began, 1)
    tell(f"undisturbed nightly: {state} in {record.undisturbed_s} s")
    record.whole = {stage: stack.digests(stage) for stage in MADE}


def kill_on(stack: LocalStack, record: Record, given: argparse.Namespace) -> None:
    """Rounds until there are enough kills; one that breaks is recorded as such, and the next begins."""
    tell(line(None))
    for number, (name, kills) in enumerate(rounds(given.in_stage, given.in_nightly)):
        if len(record.kills) >= given.kills:
            return
        if number < record.rounds:
            continue
        played = Round(stack, number, name, random.Random(f"{given.seed}-{number}"))
        most = min(kills, given.kills - len(record.kills))
        counts = Counter(kill.target for kill in record.kills)
        record.kills += played.play(most, counts, record.whole)
        record.rounds = number + 1
        record.write(given.out)
        for kill in played.kills:
            tell(line(kill))


def line(kill: Kill | None) -> str:
    """A row of the table, or its heading."""
    cells = (
        ("round", "run", "killed", "after s", "running", "in the store", "retries", "kept s", "end s", "same", "twice")
        if kill is None
        else (
            str(kill.round), kill.run, kill.target, f"{kill.after_s:.0f}", kill.stage, kill.at, str(kill.retries),
            "-" if kill.next_kept_s is None else f"{kill.next_kept_s:.0f}", f"{kill.end_s:.0f}",
            "yes" if kill.same else "NO", str(kill.twice),
        )
    )  # fmt: skip
    widths = (5, 18, 10, 7, 18, 42, 7, 6, 6, 4, 5)
    said = " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
    return said + (f"\n    {kill.fault}" if kill and kill.fault else "")


def by_target(kills: list[Kill]) -> str:
    """A Markdown table: per target, and of them all."""
    head = "| killed | kills | same digests | made twice | no retry by hand | s to what is kept next | s to the end |"
    rows = [head, "|---|---|---|---|---|---|---|"]
    for target in (*TARGETS, "all"):
        found = [kill for kill in kills if target in (kill.target, "all")]
        if not found:
            continue
        same, alone = sum(kill.same for kill in found), sum(not kill.retries for kill in found)
        kept = spread([kill.next_kept_s for kill in found if kill.next_kept_s is not None])
        end, twice = spread([kill.end_s for kill in found]), sum(kill.twice for kill in found)
        rows.append(f"| {target} | {len(found)} | {same} | {twice} | {alone} | {kept} | {end} |")
    return "\n".join(rows)


def spread(seconds: list[float]) -> str:
    """Median, smallest and largest."""
    return f"{median(seconds):.0f} ({min(seconds):.0f} to {max(seconds):.0f})" if seconds else "-"


def tell(text: str) -> None:
    """A line of the script's output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
