"""Stages that train in two processes of torchrun: the artifacts of one process, made, asked for and recorded once."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from configs.load import load_settings
from configs.schema import Settings
from tasks.pipeline.run import StageResult, open_store, run_stage
from tests.tasks import small_recipe as small

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
HALVES: dict[str, Any] = {
    "runtime__device": "cpu",
    "runtime__threads": 1,
    "cold_start__micro_batch": 8,
    "cold_start__epochs": 0.5,
    "cold_start__checkpoint_every": 4,
    "rejection_sampling__sft__micro_batch": 2,
    "rejection_sampling__sft__epochs": 1.0,
    "grpo__micro_batch": 8,
}
TORCHRUN = {"runtime__distributed__engine": "torchrun", "runtime__distributed__processes": 2}
TRAINED = ("cold-start", "rejection-sampling", "grpo")


def settings_in(folder: Path, **more: Any) -> Settings:
    return load_settings("shapes", small.sets(folder, **HALVES, **more))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, StageResult]]:
    """The stages by one process, and what each made."""
    folder = tmp_path_factory.mktemp("alone")
    settings = settings_in(folder)
    return folder, {name: run_stage(name, settings) for name in ("base", "prepare", "distill", *TRAINED)}


def recorded(folder: Path) -> dict[str, int]:
    """How many runs and models MLflow has."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        return {
            table: database.execute(f"select count(*) from {table}").fetchone()[0]
            for table in ("runs", "logged_models", "registered_models")
        }


def history(folder: Path, result: StageResult) -> dict[str, Any]:
    kept = open_store(settings_in(folder)).fetch(result.outputs["history"]) / "history.json"
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def test_the_stages_make_in_two_processes_what_they_make_in_one(
    alone: tuple[Path, dict[str, StageResult]], tmp_path: Path
) -> None:
    whole, made = alone
    shutil.copytree(whole / "store", tmp_path / "store")
    before = recorded(whole)
    for name in (*TRAINED, "sampling"):
        shutil.rmtree(tmp_path / "store" / "index" / name)
    asked = sorted(path.name for path in (tmp_path / "store" / "work" / "teacher").rglob("*") if path.is_file())
    settings = settings_in(tmp_path, **TORCHRUN)
    again = {name: run_stage(name, settings) for name in TRAINED}
    for name in ("cold-start", "rejection-sampling"):
        assert again[name].outputs["model"] == made[name].outputs["model"], name
    assert again["rejection-sampling"].outputs["trajectories"] == made["rejection-sampling"].outputs["trajectories"]
    one, two = history(whole, made["grpo"]), history(tmp_path, again["grpo"])
    assert two["validation"] == one["validation"]
    for name in ("reward", "grad_norm"):
        figures = [[row[name] for row in kept["log"] if name in row] for kept in (one, two)]
        assert figures[1] == pytest.approx(figures[0], rel=1e-2, abs=1e-4), name
    steps = [name for name in made if name not in ("base", "prepare", "distill")]
    assert recorded(tmp_path)["runs"] == len(steps) + 1, "sampling has a run of its own"
    assert recorded(tmp_path)["logged_models"] == before["logged_models"]
    assert recorded(tmp_path)["registered_models"] == before["registered_models"]
    kept = sorted(path.name for path in (tmp_path / "store" / "work" / "teacher").rglob("*") if path.is_file())
    assert kept == asked, "the teacher was asked"
