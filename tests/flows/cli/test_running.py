"""What a run says of its time, and when it says it without Prefect."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from configs.load import load_settings
from configs.schema import Settings
from flows.cli import running
from flows.cli.console import out
from flows.cli.running import Ran, _seconds, announce, run_recipe
from models.evaluation.scores import score
from tasks.orchestration.temporary_server import is_temporary
from tasks.pipeline.graph import EVALUATED, RECIPE
from tasks.pipeline.run import open_store
from tasks.store.artifacts import Store
from tests.models.evaluation.test_kinds import BOTH, NEITHER, rows_of
from tests.tasks.pipeline.test_run import everything_computed


def test_the_parts_of_a_runs_time_add_up_to_the_clocks() -> None:
    results: Any = [SimpleNamespace(seconds=1.25), SimpleNamespace(seconds=2.0)]
    created = psutil.Process().create_time()
    found = _seconds(results, created + 0.5)
    assert found["total"] == pytest.approx(time.time() - created, abs=1.0)
    assert (found["stages"], found["start"]) == (3.2, 0.5)
    spent = max(found["total"], 3.75)
    assert found["stages"] + found["start"] + found["rest"] == pytest.approx(spent, abs=0.2)


def test_the_table_is_followed_by_where_the_rest_of_the_time_went() -> None:
    seconds = {"total": 44.0, "stages": 13.0, "start": 21.5, "rest": 9.5}
    with out.capture() as captured:
        announce(load_settings("shapes"), Ran([], seconds), as_json=False, options="")
    said = " ".join(captured.get().split())
    assert "44.0 s by the clock: 13.0 s in stages, 21.5 s before the first" in said
    assert "9.5 s around them (planning, Prefect)" in said


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A report of models that are right about every second pair of two kinds, and of an oracle."""
    half = [*rows_of("cut", [BOTH] * 10), *rows_of("jump", [NEITHER] * 10, task="video_generation")]
    whole = [*rows_of("cut", [BOTH] * 10), *rows_of("jump", [BOTH] * 10, task="video_generation")]
    more = [*half, *rows_of("blur", [BOTH] * 20)]
    accuracy = {name: score(more, bootstrap=20, seed=0) for name in EVALUATED}
    accuracy["oracle"] = score([*whole, *rows_of("blur", [BOTH] * 20)], bootstrap=20, seed=0)
    gain = {"mean": 0.1, "low": 0.0, "high": 0.2}
    found = {
        "accuracy": dict(sorted(accuracy.items())),
        "differences": [{"from": "base", "to": "grpo", "mode": "think", **gain, "pairs": 40, "macro": gain}],
    }
    monkeypatch.setattr(running, "_report", lambda settings, results: found)
    return found


SECONDS = {"total": 1.0, "stages": 0.5, "start": 0.25, "rest": 0.25}


def test_the_table_has_a_row_of_the_macro_average_and_the_weakest_kinds_below_it(report: dict[str, Any]) -> None:
    with out.capture() as captured:
        announce(load_settings("shapes"), Ran([], SECONDS), as_json=False, options="")
    lines = captured.get().splitlines()
    macro = next(line.split() for line in lines if line.startswith("Macro over"))
    assert macro[2:] == ["66.7", "66.7", "66.7", "66.7", "100.0"]  # cut and blur, not jump; "kinds" is on the next line
    at = lines.index("the kinds that grpo is weakest in, thinking (%)")
    header, weakest, folded = lines[at + 1 : at + 4]
    assert header.split() == ["Kind", "Pairs", *EVALUATED, "oracle"]
    assert (weakest.split()[0], folded.strip()) == ("video", "generation/jump")
    assert weakest.split()[1:] == ["10", "0.0", "0.0", "0.0", "0.0", "100.0"]
    assert max(len(line.rstrip()) for line in lines[at:]) <= 80


def test_json_says_the_macro_average_the_kinds_and_the_differences(
    report: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    announce(load_settings("shapes"), Ran([], SECONDS), as_json=True, options="")
    said = json.loads(capsys.readouterr().out)
    think = said["accuracy"]["grpo"]["think"]
    assert think["macro"] == pytest.approx(2 / 3)
    assert (think["kinds"]["video_generation/jump"]["accuracy"], think["kinds"]["image_generation/blur"]["count"]) == (
        0.0,
        20,
    )
    assert said["accuracy"]["oracle"]["think"]["macro"] == 1.0
    assert said["differences"] == report["differences"] and said["seconds"] == SECONDS


FLOW = Ran([], {"total": 0.0, "stages": 0.0, "start": 0.0, "rest": 0.0})


@pytest.fixture
def computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose stages are all in the store, in a folder where nothing names a Prefect server."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.stages.undone.is_stale", lambda store, settings, entry: "")
    places = (f"storage.root={tmp_path / 'store'}", f"storage.cache_dir={tmp_path / 'cache'}")
    settings = load_settings("shapes", places)
    everything_computed(settings, tmp_path / "made")
    return settings


def ran(settings: Settings, *stages: str, refresh: tuple[str, ...] = ()) -> Ran:
    return run_recipe(settings, stages or RECIPE, refresh, quiet=True, pins={}, build_missing=False)


@pytest.mark.parametrize("stages", [RECIPE, ("grpo",), ("grpo", "prepare")])
def test_with_nothing_to_do_no_flow_runs(
    stages: tuple[str, ...], computed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(running, "_run_flow")
    results = ran(computed, *stages).results
    assert [one.name for one in results] == [name for name in RECIPE if name in stages]
    assert {one.state for one in results} == {"cached"}


def left_out_rows(store: Store) -> None:
    (entry,) = store.entries("prepare")
    store.record(entry.model_copy(update={"facts": {**entry.facts, "passing": 2}}))


def without_base(store: Store) -> None:
    (entry,) = store.entries("base")
    store.forget("base", entry.key)


def submitted(store: Store) -> None:
    store.objects.write("inbox/some.zip", b"")


@pytest.mark.parametrize("happens", [left_out_rows, without_base, submitted])
def test_what_has_to_be_done_is_done_by_the_flow(
    happens: Callable[[Store], None], computed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_run_flow", lambda *given, **named: FLOW)
    assert ran(computed) != FLOW
    happens(open_store(computed))
    assert ran(computed) == FLOW


def test_a_promotion_that_was_undone_and_what_is_refreshed_are_done_by_the_flow(
    computed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_run_flow", lambda *given, **named: FLOW)
    assert ran(computed, refresh=("grpo",)) == FLOW
    monkeypatch.setattr("tasks.stages.undone.is_stale", lambda store, settings, entry: "no promotion there")
    assert ran(computed) == FLOW
    assert ran(computed, "evaluate") != FLOW


def test_a_stage_by_itself_leaves_the_inbox_alone(computed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(running, "_run_flow")
    submitted(open_store(computed))
    assert [one.state for one in ran(computed, "prepare").results] == ["cached"]


def test_a_prefect_server_is_shown_what_is_cached_too(computed: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_run_flow", lambda *given, **named: FLOW)
    monkeypatch.setattr(running, "is_temporary", lambda: False)
    assert ran(computed) == FLOW


@pytest.mark.parametrize(
    ("file", "text", "asked"),
    [
        ("pyproject.toml", '[project]\ndependencies = ["prefect"]', False),
        ("pyproject.toml", "[tool.prefect.api]\nurl = 'http://127.0.0.1:9/api'", True),
        ("prefect.toml", "[api]\nurl = 'http://127.0.0.1:9/api'", True),
        (".env", "PREFECT_API_URL=http://127.0.0.1:9/api", True),
        ("prefect/profiles.toml", "active = 'own'", True),
    ],
)
def test_prefect_is_asked_where_a_file_may_name_its_server(
    file: str, text: str, asked: bool, computed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect.client.base.determine_server_type", lambda: "asked")
    assert is_temporary()
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert is_temporary() is not asked


def test_what_mlflow_missed_is_delivered_where_no_flow_runs(
    computed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered: list[Settings] = []
    monkeypatch.setattr(
        "tasks.pipeline.run.deliver_best_effort", lambda store, settings, log: delivered.append(settings)
    )
    ran(computed)
    assert delivered == [computed]
