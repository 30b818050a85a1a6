"""The whole recipe, small: every stage in a process of its own, then again, then with one setting changed."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from configs.load import load_settings
from models.errors import StageKilled
from models.evaluation.judged_rows import JudgedRow, read_rows
from tasks.pipeline.graph import RECIPE
from tasks.pipeline.run import Watch, open_store, run_stage
from tests.flows.killing import checkpoint, stage_killed_when
from tests.tasks import small_recipe as small
from tests.tasks.workbench.bench import workbench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MODELS = ("base", "cold-start", "rejection-sampling", "grpo")
TASKS = ("image_generation", "image_understanding", "video_generation", "video_understanding")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The recipe run once, and what it said."""
    folder = tmp_path_factory.mktemp("recipe")
    return folder, small.run_json("run", folder=folder)


def test_every_stage_is_computed_and_scored(recipe: tuple[Path, dict[str, Any]]) -> None:
    _, said = recipe
    assert set(small.states(said).values()) == {"computed"}
    assert set(said["accuracy"]) == {*MODELS, "oracle"}
    for scores in said["accuracy"].values():
        assert set(scores) == {"think", "direct", "valid_rate", "both_orders", "unparsed", "totals_tie"}
    for name in MODELS:
        for mode in ("think", "direct"):
            found = said["accuracy"][name][mode]
            assert set(found) == {"overall", *TASKS, "macro", "macro_over", "kinds", "intervals"}
            assert (found["macro"], found["macro_over"]) == (found["overall"], "tasks")  # so few pairs are of no kinds
    assert said["accuracy"]["oracle"]["think"]["overall"] == 1.0
    assert {(one["from"], one["to"]) for one in said["differences"]} >= {
        ("rejection-sampling", "grpo"),
        ("base", "grpo"),
    }
    assert all("macro" in one for one in said["differences"])


def test_the_accuracies_are_those_of_the_judgments_in_the_store(recipe: tuple[Path, dict[str, Any]]) -> None:
    folder, said = recipe
    store = open_store(load_settings("shapes", small.sets(folder)))
    kept = [store.fetch(entry.outputs["judgments"]) for entry in store.entries("judging")]
    counted = [by_hand(read_rows(folder / "judgments.parquet")) for folder in kept]
    names = ("overall", *TASKS)
    stated = [
        {mode: {which: said["accuracy"][name][mode][which] for which in names} for mode in ("think", "direct")}
        for name in MODELS
    ]
    assert counted  # one a model, but of models with the same bytes one
    for scores in stated:
        assert scores in counted
    for scores in counted:
        assert scores in stated


def by_hand(rows: Sequence[JudgedRow]) -> dict[str, dict[str, Any]]:
    """The accuracy of each mode and task; six held-out pairs a task, each judged in both orders."""
    accuracies: dict[str, dict[str, Any]] = {}
    for mode in ("think", "direct"):
        right = {task: [row.right for row in rows if (row.mode, row.task) == (mode, task)] for task in TASKS}
        assert {len(flags) for flags in right.values()} == {12}
        shares = {task: sum(flags) / 12 for task, flags in right.items()}
        accuracies[mode] = {name: pytest.approx(share) for name, share in shares.items()}
        accuracies[mode]["overall"] = pytest.approx(sum(shares.values()) / len(TASKS))
    return accuracies


def test_the_base_has_never_seen_the_grammar_and_the_cold_start_teaches_it(recipe: tuple[Path, dict[str, Any]]) -> None:
    _, said = recipe
    assert said["accuracy"]["base"]["valid_rate"] < 0.02
    assert said["accuracy"]["cold-start"]["valid_rate"] > said["accuracy"]["base"]["valid_rate"]


def test_prefect_shows_the_teachers_yield_and_the_report(recipe: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = recipe
    with sqlite3.connect(folder / ".thinkreward" / "prefect" / "prefect.db") as prefect:
        shown = {key for (key,) in prefect.execute("select key from artifact")}
    assert {"teacher-yield", "report"} <= shown


class Reports:
    """What a resumed stage's process reports first of its training, and all that it reports about."""

    def __init__(self) -> None:
        self.first_step = 0
        self.about: set[str] = set()

    def take(self, done: int, total: int, what: str) -> None:
        self.about.add(what)
        if what == "steps" and not self.first_step:
            self.first_step = done


def samples_made(store: Path) -> dict[Path, int]:
    """When each result of the sampling was recorded, in nanoseconds."""
    return {path: path.stat().st_mtime_ns for path in (store / "index" / "sampling").glob("*")}


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("cold-start", {"cold_start__epochs": 0.5, "cold_start__checkpoint_every": 2}),  # 7 steps in place of 104
        ("rejection-sampling", {}),
        ("grpo", {}),
    ],
    ids=["cold-start", "rejection-sampling", "grpo"],
)
def test_a_killed_training_stage_goes_on_where_it_was_to_the_same_digests(
    stage: str, changes: dict[str, object], recipe: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Training is reproducible: a stage begun again from nothing has these digests too, but not these first steps."""
    whole, _ = recipe
    shutil.copytree(whole / "store", tmp_path / "store")
    shutil.copy(whole / "mlflow.db", tmp_path)
    settings = load_settings("shapes", small.sets(tmp_path, **changes))
    undisturbed = run_stage(stage, settings)
    assert undisturbed.state == ("computed" if changes else "cached")
    open_store(settings).forget(stage, undisturbed.key)
    work = tmp_path / "store" / "work" / stage
    with pytest.raises(StageKilled, match="SIGKILL"), stage_killed_when(partial(checkpoint(2), work)):
        run_stage(stage, settings)
    sampled, reports = samples_made(tmp_path / "store"), Reports()
    assert len(sampled) == 1
    resumed = run_stage(stage, settings, watch=Watch(progress=reports.take))
    assert resumed.state == "resumed"
    assert reports.first_step > 2
    assert reports.about == {"steps"} and samples_made(tmp_path / "store") == sampled
    assert resumed.outputs == undisturbed.outputs


def test_another_fine_tuning_of_rejection_sampling_does_not_sample_again(
    recipe: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole, first = recipe
    shutil.copytree(whole / "store", tmp_path / "store")
    shutil.copy(whole / "mlflow.db", tmp_path)
    sampled = samples_made(tmp_path / "store")
    planned = small.run_json("run", "--dry-run", folder=tmp_path, rejection_sampling__sft__learning_rate=7e-5)
    reasons = {one["name"]: (one["state"], one["reason"]) for one in planned["stages"]}
    assert reasons["rejection-sampling"] == ("run", "rejection_sampling.sft.learning_rate 0.0005 -> 7e-05")
    said = small.run_json("rejection-sampling", folder=tmp_path, rejection_sampling__sft__learning_rate=7e-5)
    assert small.states(said) == {"rejection-sampling": "computed"}
    before = next(one for one in first["stages"] if one["name"] == "rejection-sampling")["artifacts"]
    after = said["stages"][0]["artifacts"]
    assert after["trajectories"] == before["trajectories"]
    assert after["model"] != before["model"]
    assert len(sampled) == 1 and samples_made(tmp_path / "store") == sampled


BY_THE_FLOW = "from flows.cli import main, running; running.reuse_all = lambda *given: None; main.main()"


def test_again_everything_is_cached_with_the_same_accuracy_and_prefect_is_not_loaded(
    recipe: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first = recipe
    command = small.command("run", "--json", folder=folder)[3:]
    by_flow = subprocess.run(
        [sys.executable, "-c", BY_THE_FLOW, *command], cwd=folder, env=small.environment(folder),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    done = small.run("run", "--json", folder=folder)
    again = json.loads(done.stdout)
    assert set(small.states(again).values()) == {"cached"}
    assert again["accuracy"] == first["accuracy"]
    assert but_for_seconds(again) == but_for_seconds(json.loads(by_flow.stdout.splitlines()[-1]))
    assert not re.search(r"\| +prefect$", done.stderr, re.MULTILINE)


def but_for_seconds(said: dict[str, Any]) -> dict[str, Any]:
    stages = [{**stage, "seconds": 0.0} for stage in said["stages"]]
    return {**said, "stages": stages, "seconds": sorted(said["seconds"])}


def test_after_a_grpo_setting_only_grpo_evaluate_and_promote_run(recipe: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = recipe
    changed = small.run_json("run", folder=folder, grpo__learning_rate=2e-4)
    assert [name for name, state in small.states(changed).items() if state != "cached"] == [
        "grpo",
        "evaluate",
        "promote",
    ]


def test_the_champion_loads_in_a_fresh_process(recipe: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = recipe
    program = (
        "import mlflow, json\n"
        f"mlflow.set_tracking_uri('sqlite:///{folder}/mlflow.db')\n"
        "model = mlflow.pyfunc.load_model('models:/thinkreward@champion')\n"
        "from models.shapes.pairs import make_pair; from models.pairs.preference import Task\n"
        "made = make_pair(Task.IMAGE_GENERATION, 0, seed=3, held_out=True)\n"
        "a, b = made.blobs.values()\n"
        "rows = [{'task': 'image_generation', 'prompt': made.pair.prompt, 'candidate_1': a, 'candidate_2': b}]\n"
        "print(json.dumps({'text': model.predict(rows)['text'][0]}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=small.environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["text"]


def test_the_workbench_shows_scores_sums_and_both_orders(recipe: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = recipe
    settings = load_settings("shapes", small.sets(folder))
    entries = [one for one in open_store(settings).entries() if one.stage in RECIPE]
    assert all("prefect" in one.run_ids for one in entries)  # what the page links to
    with workbench(settings) as url:
        runs = httpx.get(f"{url}/runs", timeout=60).text
        assert runs.count("✓ done") >= 7  # the test before this one made another model the challenger
        assert httpx.get(f"{url}/report/{report_of(runs)}", timeout=60).status_code == 200
        for number in range(30):  # until a text is valid, which not all of so small a recipe are
            asked = httpx.get(f"{url}/example", params={"task": "image_generation", "number": number}, timeout=60)
            row = {**asked.json(), "model": "grpo"}
            page = json.loads(httpx.post(f"{url}/judge", json=row, timeout=120).text.rsplit("data: ", 1)[1])
            if "No verdict" not in page:
                break
        assert page.count('class="dimension"') >= 3
        assert page.count("<svg") == 2 * page.count('class="dimension"')
        assert "Image 2 total: <b>" in page
        for words in ("order", "sums", "follow"):
            assert words in page.split('aria-label="Checks"')[1].split("</ul>")[0]


def report_of(runs: str) -> str:
    return runs.split('href="/report/')[1].split('"')[0]


def test_a_corrupted_byte_is_found_never_used_and_rebuilt(recipe: tuple[Path, dict[str, Any]]) -> None:
    folder, said = recipe
    digest = next(stage for stage in said["stages"] if stage["name"] == "prepare")["artifacts"]["preferences"]
    kind, name = digest.split("/")
    held = folder / "store" / "artifacts" / kind / name[:2] / name / "files" / "pairs-held_out.parquet"
    whole = held.read_bytes()
    held.chmod(0o644)
    held.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    refused = small.run("distill", "--refresh", folder=folder, check=False)
    assert refused.returncode == 1
    assert "pairs-held_out.parquet" in refused.stderr
    found = small.run("artifacts", "verify", "--drop", folder=folder, check=False)
    assert found.returncode == 1
    assert name[:12] in found.stdout + found.stderr
    again = small.run_json("prepare", folder=folder)
    assert small.states(again) == {"prepare": "computed"}
    assert again["stages"][0]["artifacts"]["preferences"] == digest
    assert held.read_bytes() == whole
