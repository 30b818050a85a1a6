"""A recipe small enough for tests: every stage is real, only the numbers are small."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]

SMALL = {
    "runtime.retry_delay_s": 1.0,
    "prepare.train_pairs": 160,
    "prepare.validation_pairs": 3,
    "prepare.held_out_pairs": 6,
    "distill.pairs": 120,
    "distill.other_pairs": 20,
    "cold_start.epochs": 8.0,
    "cold_start.batch": 16,
    "cold_start.micro_batch": 16,
    "cold_start.direct_pairs": 10,
    "cold_start.checkpoint_every": 6,
    "rejection_sampling.pairs": 8,
    "rejection_sampling.samples": 2,
    "rejection_sampling.shard_pairs": 8,
    "rejection_sampling.max_tokens": 170,
    "rejection_sampling.sft.epochs": 4.0,
    "rejection_sampling.sft.batch": 4,
    "rejection_sampling.sft.micro_batch": 4,
    "rejection_sampling.sft.direct_pairs": 2,
    "rejection_sampling.sft.checkpoint_every": 2,
    "grpo.max_tokens": 170,
    "grpo.pairs": 12,
    "grpo.validation_pairs": 4,
    "grpo.group": 4,
    "grpo.prompts_per_step": 4,
    "grpo.micro_batch": 16,
    "grpo.checkpoint_every": 2,
    "grpo.validate_every": 2,
    "grpo.learning_rate": 1e-4,
    "evaluate.max_tokens": 170,
    "evaluate.bootstrap": 200,
    "evaluate.examples": 2,
    "promote.min_valid_rate": 0.0,
    "promote.min_both_orders": 0.0,
}


def command(*arguments: str, folder: Path, **changes: object) -> list[str]:
    """The command line of `thinkreward` with the small recipe and everything it keeps below `folder`."""
    options = [part for one in sets(folder, **changes) for part in ("--set", one)]
    return [sys.executable, "-m", "flows.cli.main", *arguments, *options]


def sets(folder: Path, **changes: object) -> list[str]:
    """The settings of the small recipe, as `--set` takes them."""
    places = {
        "storage.root": str(folder / "store"),
        "storage.cache_dir": str(folder / "cache"),
        "tracking.uri": f"sqlite:///{folder}/mlflow.db",
    }
    settings = {**SMALL, **places, **{name.replace("__", "."): value for name, value in changes.items()}}
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]


def environment(folder: Path) -> dict[str, str]:
    """No server of the developer's is used: Prefect keeps its records below `folder`, as in a folder never used."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "PREFECT_HOME": str(folder / ".thinkreward" / "prefect"), "PYTHONPATH": str(REPOSITORY)}


def run(*arguments: str, folder: Path, check: bool = True, **changes: object) -> "subprocess.CompletedProcess[str]":
    """Run `thinkreward` in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command(*arguments, folder=folder, **changes),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def run_json(*arguments: str, folder: Path, **changes: object) -> dict[str, Any]:
    """Run with `--json` and read the one object."""
    said: dict[str, Any] = json.loads(
        run(*arguments, "--json", folder=folder, **changes).stdout.strip().splitlines()[-1]
    )
    return said


def states(said: dict[str, Any]) -> dict[str, str]:
    """State by stage."""
    return {stage["name"]: stage["state"] for stage in said["stages"]}
