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
from tests.tasks.training.plans import distance

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


def weights(folder: Path, result: StageResult) -> Path:
    return open_store(settings_in(folder)).fetch(result.outputs["model"])


def teachers_answers(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "store" / "work" / "teacher").rglob("*") if path.is_file())


@pytest.mark.parametrize("name", TRAINED)
def test_a_stage_makes_in_two_processes_what_it_makes_in_one(
    alone: tuple[Path, dict[str, StageResult]], tmp_path: Path, name: str
) -> None:
    """From the same inputs: but for rounding the same weights, and as many runs and models in MLflow."""
    whole, made = alone
    for folder in ("once", "twice"):
        shutil.copytree(whole / "store", tmp_path / folder / "store")
        shutil.rmtree(tmp_path / folder / "store" / "index" / name)
    asked = teachers_answers(whole)
    run_stage(name, settings_in(tmp_path / "once"))
    again = run_stage(name, settings_in(tmp_path / "twice", **TORCHRUN))
    if name == "grpo":
        one, two = history(whole, made[name]), history(tmp_path / "twice", again)
        assert two["validation"] == one["validation"]
        for figure in ("reward", "grad_norm"):
            kept = [[row[figure] for row in each["log"] if figure in row] for each in (one, two)]
            assert kept[1] == pytest.approx(kept[0], rel=1e-2, abs=1e-4), figure
    else:
        assert distance(weights(whole, made[name]), weights(tmp_path / "twice", again)) < 1e-5
    assert recorded(tmp_path / "twice") == recorded(tmp_path / "once")
    assert teachers_answers(tmp_path / "twice") == asked
