"""The ledger that a version of the preferences follows: the newest, or the one from which it was made before."""

from dataclasses import replace
from pathlib import Path

import pytest

from configs.load import load_settings
from configs.schema import Settings
from tasks.pipeline.graph import STAGES
from tasks.pipeline.plan import Planner, stage_key
from tasks.pipeline.run import open_store
from tasks.stages.dynamic_inputs import gather
from tasks.store.artifacts import ArtifactRef, IndexEntry, Store
from tasks.store.maintenance import gc


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = (f"storage.root={tmp_path / 'store'}", f"storage.cache_dir={tmp_path / 'cache'}")
    return load_settings("shapes", places)


def of_seed(settings: Settings, seed: int) -> Settings:
    return settings.model_copy(update={"seed": seed})


def published(store: Store, folder: Path, kind: str) -> ArtifactRef:
    folder.mkdir(parents=True)
    (folder / "file.txt").write_text(f"{kind} {folder}")
    return store.publish(kind, folder)


def prepared(settings: Settings, folder: Path, *, outputs: tuple[str, ...] = ("preferences", "splits")) -> IndexEntry:
    """Record a version of the preferences as if it had been computed."""
    store, stage = open_store(settings), STAGES["prepare"]
    inputs = dict(Planner(store, settings).ready("prepare").inputs)
    entry = IndexEntry(
        stage="prepare",
        key=stage_key(stage, settings, inputs),
        outputs={kind: published(store, folder / kind, kind) for kind in outputs},
        inputs=inputs,
        config=stage.config(settings),
        code_version=stage.version,
    )
    store.record(entry)
    return entry


def test_a_store_without_preferences_has_no_ledger(settings: Settings) -> None:
    assert gather(open_store(settings), settings) == {}


def test_another_configuration_follows_the_newest_version(settings: Settings, tmp_path: Path) -> None:
    first = prepared(settings, tmp_path / "a")
    assert gather(open_store(settings), of_seed(settings, 1)) == {"previous": first.outputs["splits"]}
    second = prepared(of_seed(settings, 1), tmp_path / "b")
    assert second.inputs == {"previous": first.outputs["splits"]}
    assert gather(open_store(settings), of_seed(settings, 2)) == {"previous": second.outputs["splits"]}


def test_a_profile_that_changes_and_changes_back_finds_its_result(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    first = prepared(settings, tmp_path / "a")
    second = prepared(of_seed(settings, 1), tmp_path / "b")
    for own, entry in ((settings, first), (of_seed(settings, 1), second), (settings, first)):
        planned = Planner(store, own).plan("prepare")
        assert planned.cached and planned.key == entry.key
    assert Planner(store, of_seed(settings, 2)).plan("prepare").reason == "seed 1 -> 2", "the ledger is no reason"


def test_a_new_drop_follows_the_newest_ledger(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(settings)
    first = prepared(settings, tmp_path / "a")
    drop = published(store, tmp_path / "drop", "drop")
    monkeypatch.setattr("tasks.data.inbox.records.recorded", lambda store: {"drop-1": drop})
    assert gather(store, settings) == {"drop-1": drop, "previous": first.outputs["splits"]}
    second = prepared(settings, tmp_path / "b")
    assert second.inputs == gather(store, settings), "and once prepared it is found again"


def test_another_code_version_follows_what_the_one_before_made(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepared(settings, tmp_path / "a")
    monkeypatch.setitem(STAGES, "prepare", replace(STAGES["prepare"], version="999"))
    assert gather(open_store(settings), settings) == {"previous": first.outputs["splits"]}


def test_preferences_of_before_there_were_ledgers_stand_in_for_one(settings: Settings, tmp_path: Path) -> None:
    first = prepared(settings, tmp_path / "a", outputs=("preferences",))
    assert gather(open_store(settings), of_seed(settings, 1)) == {"previous": first.outputs["preferences"]}


def test_a_ledger_that_a_later_version_follows_is_not_collected(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    first = prepared(settings, tmp_path / "a")
    second = prepared(of_seed(settings, 1), tmp_path / "b")
    gc(store, grace_s=0.0, dry_run=False)
    for ref in (first.outputs["splits"], second.outputs["splits"]):
        store.verify(ref)
