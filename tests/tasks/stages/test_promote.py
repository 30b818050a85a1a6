"""What promotes a model, what a person may approve, and when a promotion still stands: a real sqlite MLflow."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import ConfigError
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.scores import score
from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import PreferencePair, Task
from models.verdict.grammar import Dimension, Mode, Verdict, answer_text
from models.verdict.rendering import render_verdict
from tasks.pipeline.child import Child, Job
from tasks.pipeline.pinning import MODEL_TAG
from tasks.pipeline.run import open_store, read_output
from tasks.stages.approve import make_champion, waits_for_a_yes
from tasks.stages.evaluate import MODES
from tasks.stages.promote import GATE_TAG, promote
from tasks.stages.undone import is_stale
from tasks.store.artifact_types import ArtifactRef, IndexEntry
from tasks.store.artifacts import Store
from tasks.tracking.registry import CHALLENGER, CHAMPION, DIGEST_TAG, REFERENCE, get_alias, register, set_alias
from tests.tasks.stages.test_comparing import tiny
from tests.tasks.stages.test_evaluate import preferences

OFF = dict.fromkeys(
    ("margin", "reference_margin", "task_margin", "both_orders_margin", "calibration_margin", "position_bias_margin"),
    1.0,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = (
        f"storage.root={tmp_path / 'store'}",
        f"storage.cache_dir={tmp_path / 'cache'}",
        f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}",
    )
    return load_settings("shapes", places)


def promoted(settings: Settings, model: str) -> str:
    """Register a model as the challenger; gives its version."""
    uri, name = settings.tracking.uri, settings.tracking.registered_model
    tags = {DIGEST_TAG: f"packaged {model}", MODEL_TAG: model}
    version = register(uri, name, source_uri=f"file:///store/{model}", run_id="", tags=tags).version
    set_alias(uri, name, CHALLENGER, version)
    return version


def recorded(settings: Settings, folder: Path, model: str, version: str) -> IndexEntry:
    folder.mkdir()
    said = {"name": settings.tracking.registered_model, "model": model, "version": version}
    (folder / "registration.json").write_text(json.dumps(said))
    outputs = {"registration": open_store(settings).publish("registration", folder)}
    return IndexEntry(stage="promote", key="0" * 64, outputs=outputs, inputs={}, config={}, code_version="1")


def test_a_promotion_stands_until_another_model_is_the_challenger(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    entry = recorded(settings, tmp_path / "first", "one", promoted(settings, "one"))
    assert is_stale(store, settings, entry) == ""
    promoted(settings, "two")
    assert is_stale(store, settings, entry) == "the registry's challenger is another model, version 2"
    promoted(settings, "one")
    assert is_stale(store, settings, entry) == ""


def test_an_emptied_registry_undoes_a_promotion(settings: Settings, tmp_path: Path) -> None:
    entry = recorded(settings, tmp_path / "first", "one", "1")
    assert is_stale(open_store(settings), settings, entry).endswith("has no challenger")
    # A registry that was emptied counts its versions from 1 again.
    promoted(settings, "other")
    assert "another model" in is_stale(open_store(settings), settings, entry)


def verdict(task: Task, preferred: Literal[1, 2], mode: Mode) -> str:
    if mode == "direct":
        return answer_text(task, preferred)
    scores = (8, 3) if preferred == 1 else (3, 8)
    dimensions = (Dimension("Aesthetics", scores, ("calm", "loud")),)
    return render_verdict(Verdict.from_dimensions(task, dimensions, preferred))


class Nights:
    """Promotions one after another in one store and registry, of models whose answers are given."""

    def __init__(self, settings: Settings, folder: Path, *, pairs: int) -> None:
        self.settings, self.folder = settings, folder
        self.store: Store = open_store(settings)
        self.data = preferences(self.store, folder / "data", held_out=pairs - 1)
        dataset = PreferenceDataset(self.store.fetch(self.data), max_pixels=64 * 64, max_frames=8)
        self.pairs = {task: list(dataset.pairs("held_out", task)) for task in Task}
        self.answers: dict[str, int] = {}
        self.number = 0

    def model(self, mark: str, wrong: int = 0) -> ArtifactRef:
        """A model that answers the first so many pairs of every task wrongly."""
        ref = tiny(self.store, self.folder, mark)
        self.answers[ref.digest] = wrong
        return ref

    def said(self, model: str, task: Task, mode: Mode) -> list[tuple[PreferencePair, bool, str]]:
        shown = [
            (at, pair.swapped() if swapped else pair, swapped)
            for at, pair in enumerate(self.pairs[task])
            for swapped in (False, True)
        ]
        right = [(pair, swapped, (pair.preferred == 1) == (at >= self.answers[model])) for at, pair, swapped in shown]
        return [(pair, swapped, verdict(task, 1 if first else 2, mode)) for pair, swapped, first in right]

    def promote(self, ref: ArtifactRef, **gate: Any) -> dict[str, Any]:
        """Promote a model with these settings of the gate; gives its registration."""
        self.number += 1
        rows = [
            JudgedRow.read(pair, mode, swapped, text, False)
            for mode in MODES
            for task in Task
            for pair, swapped, text in self.said(ref.digest, task, mode)
        ]
        report = self.folder / f"report-{self.number}"
        report.mkdir()
        said = {"accuracy": {"grpo": score(rows, bootstrap=10, seed=0)}, "models": {}}
        (report / "report.json").write_text(json.dumps(said))
        inputs = {"model": ref, "preferences": self.data, "report": self.store.publish("report", report)}
        update = {"promote": self.settings.promote.model_copy(update=gate)}
        settings = self.settings.model_copy(update=update)
        key = f"{self.number:064d}"
        work = self.store.work("promote", key)
        for digest in self.answers:
            name = "model" if digest == ref.digest else f"rival-{digest[:12]}"
            for task in Task:
                for mode in MODES:
                    told = [[pair.id, swapped, text, False] for pair, swapped, text in self.said(digest, task, mode)]
                    work.put_json(f"judged/{name}-{task}-{mode}.json", told)
        scratch = self.folder / f"scratch-{self.number}"
        scratch.mkdir()
        job = Job(stage="promote", key=key, body="", settings=settings, inputs=inputs)
        return read_output(self.store, promote(job, Child(), scratch).outputs, "registration")

    def alias(self, alias: str) -> str:
        found = get_alias(self.settings.tracking.uri, self.settings.tracking.registered_model, alias)
        return found.version if found else ""


def few_pairs(settings: Settings) -> Settings:
    return settings.model_copy(update={"runtime": settings.runtime.model_copy(update={"threads": 1})})


@pytest.mark.slow
def test_a_champion_is_replaced_by_what_the_gate_lets_through_alone(settings: Settings, tmp_path: Path) -> None:
    nights = Nights(few_pairs(settings), tmp_path, pairs=3)
    first = nights.model("first")
    said = nights.promote(first)
    assert said["passed"] and said["aliases"] == [CHALLENGER, CHAMPION, REFERENCE]
    assert said["reasons"][-1].endswith("No champion came before this model. The absolute limits alone decide.")

    same = nights.promote(first)
    assert same["passed"] and same["version"] == said["version"] and CHAMPION in same["aliases"]
    assert "No champion" not in str(same["reasons"]) and "the champion (version 1) itself" in same["reasons"][-1]

    # Nothing differs, but of so few pairs that shows nothing.
    second = nights.model("second")
    said = nights.promote(second)
    assert not said["passed"] and said["aliases"] == [CHALLENGER]
    assert said["headline"].startswith("The gate failed 8 of 10 tests")
    assert "against the champion and reference (version 1): +0.0 points" in said["reasons"][0]
    accuracy = next(check for check in said["checks"] if check["test"] == "accuracy")
    assert accuracy["short_by"] == pytest.approx(-0.01 - accuracy["estimate"]["low"]) and accuracy["short_by"] > 0.1
    registered = get_alias(nights.settings.tracking.uri, said["name"], CHALLENGER)
    assert registered is not None and registered.tags[GATE_TAG] == "failed"
    assert "points below the margin of -1.0" in registered.tags["thinkreward.gate.failed"]
    assert (nights.alias(CHAMPION), nights.alias(REFERENCE)) == ("1", "1")
    with pytest.raises(ConfigError, match=r"version 2 of thinkreward did not pass the gate.*below the margin"):
        make_champion(nights.settings, "2")

    # With the margins off it passes and becomes champion; not shown to be better, it is no reference.
    said = nights.promote(second, **OFF)
    assert said["passed"] and said["aliases"] == [CHALLENGER, CHAMPION] and nights.alias(REFERENCE) == "1"
    # From now on the champion and the reference are two opponents.
    third = nights.promote(nights.model("third"), **OFF)
    assert {check["against"] for check in third["checks"]} == {
        "", "the champion (version 2)", "the reference (version 1)"
    }  # fmt: skip


@pytest.mark.slow
def test_a_person_can_approve_what_passed_against_todays_champion_alone(settings: Settings, tmp_path: Path) -> None:
    nights = Nights(few_pairs(settings), tmp_path, pairs=3)
    worst, best = nights.model("worst", wrong=2), nights.model("best")
    nights.promote(worst, min_both_orders=0.0)
    said = nights.promote(best, approval=True, **OFF)
    asking = nights.settings.model_copy(
        update={"promote": nights.settings.promote.model_copy(update={"approval": True})}
    )  # fmt: skip
    assert said["passed"] and said["aliases"] == [CHALLENGER] and waits_for_a_yes(asking, said)
    uri, name = nights.settings.tracking.uri, said["name"]
    other = register(uri, name, source_uri="file:///x", run_id="", tags={DIGEST_TAG: "x", MODEL_TAG: "x"}).version
    set_alias(uri, name, CHAMPION, other)
    with pytest.raises(ConfigError, match=f"passed against champion 1, but the champion is {other} by now"):
        make_champion(asking, said["version"])
    set_alias(uri, name, CHAMPION, "1")
    assert make_champion(asking, said["version"]) == "version 2 of thinkreward is champion (before: version 1)"
    assert nights.alias(REFERENCE) == "2", "it is shown to be better than the reference before it"
    assert make_champion(asking, said["version"]) == "version 2 of thinkreward is champion already"
    assert not waits_for_a_yes(asking, said)


@pytest.mark.slow
def test_a_champion_whose_weights_are_gone_fails_the_gate_until_they_are_back(
    settings: Settings, tmp_path: Path
) -> None:
    nights = Nights(few_pairs(settings), tmp_path, pairs=2)
    uri, name = nights.settings.tracking.uri, nights.settings.tracking.registered_model
    lost = register(uri, name, source_uri="file:///x", run_id="", tags={DIGEST_TAG: "d" * 64, MODEL_TAG: "c" * 64})
    set_alias(uri, name, CHAMPION, lost.version)
    said = nights.promote(nights.model("challenger"), **OFF)
    assert not said["passed"] and said["aliases"] == [CHALLENGER]
    assert "thinkreward artifacts copy" in said["reasons"][0] and len(said["reasons"]) == 1
    assert nights.alias(REFERENCE) == lost.version, "a champion without a reference is the reference from now on"
    folder = tmp_path / "again"
    folder.mkdir()
    (folder / "registration.json").write_text(json.dumps(said))
    outputs = {"registration": nights.store.publish("registration", folder)}
    entry = IndexEntry(stage="promote", key="0" * 64, outputs=outputs, inputs={}, config={}, code_version="1")
    assert is_stale(nights.store, nights.settings, entry) == ""
    set_alias(uri, name, CHAMPION, said["version"])
    assert is_stale(nights.store, nights.settings, entry).endswith("is so no longer")


@pytest.mark.slow
def test_what_came_through_the_inbox_does_not_promote_itself(settings: Settings, tmp_path: Path) -> None:
    nights = Nights(few_pairs(settings), tmp_path, pairs=20)
    said = nights.promote(nights.model("first"))
    assert said["approval"] is False and said["turning"] is None and CHAMPION in said["aliases"]
    nights.data = preferences(nights.store, tmp_path / "more", held_out=19, dropped=2)
    second = nights.model("second", wrong=1)
    said = nights.promote(second, **OFF)
    assert said["passed"] and said["approval"] is True and said["aliases"] == [CHALLENGER]
    assert waits_for_a_yes(nights.settings, said)
    told = said["turning"]
    assert told["new"] == 8 and told["near"] >= 10
    assert told["near"] + told["others"] == 40, "pictures of the shapes have no hashes, so that captions tell alone"
    assert told["near_lost"] + told["others_lost"] == 2, "one of each generation task"
    # A person's yes, or the setting, lets it through; then the same drops are no longer new.
    asking = nights.settings.model_copy(update={"promote": nights.settings.promote.model_copy(update=OFF)})
    assert "is champion" in make_champion(asking, said["version"])
    said = nights.promote(nights.model("third"), approval=False, **OFF)
    assert said["approval"] is False and said["turning"] is None and CHAMPION in said["aliases"]
