"""`prepare` in this process: drops join the training split, and without them a source gives what it always gave."""

from pathlib import Path

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.dataset import PreferenceDataset, write_dataset
from models.errors import ArtifactMissing
from models.preference import Task
from models.shapes.pairs import make_pair
from models.sources.shapes import read_shapes
from tasks.artifact_types import digest_of, entries_of, read_sources
from tasks.artifacts import ArtifactRef
from tasks.inbox import drops, ingest
from tasks.launching import Child, Done, Job
from tasks.preparing import prepare
from tasks.stages import open_store
from tests.tasks.shapes_drop import row_of, write_drop


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = (
        f"storage.root={tmp_path / 'store'}",
        f"storage.cache_dir={tmp_path / 'cache'}",
        f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}",
    )
    return load_settings("shapes", (*places, "prepare.train_pairs=3", "prepare.held_out_pairs=2"))


def made(settings: Settings, scratch: Path, inputs: dict[str, ArtifactRef]) -> Done:
    scratch.mkdir()
    job = Job(stage="prepare", key="0" * 64, body="tasks.preparing:prepare", settings=settings, inputs=inputs)
    return prepare(job, Child(), scratch)


def test_without_drops_the_artifact_is_what_the_source_alone_gives(settings: Settings, tmp_path: Path) -> None:
    splits, blobs = read_shapes(train_pairs=3, held_out_pairs=2, seed=settings.seed)
    alone = tmp_path / "alone"
    alone.mkdir()
    write_dataset(alone, splits, blobs)
    done = made(settings, tmp_path / "scratch", {})
    assert done.outputs["preferences"].digest == digest_of(entries_of(read_sources(alone)))
    assert "drops" not in done.facts


def test_drops_among_the_inputs_come_first_and_change_no_held_out_pair(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    elsewhere = row_of(make_pair(Task.IMAGE_GENERATION, 0, seed=8, held_out=False).pair)
    bad = [b"{", elsewhere | {"id": "x", "prompt": "a harbour at dusk"}]
    for name, seed in (("one", 7), ("two", 8)):
        write_drop(tmp_path / "store" / "inbox" / name, seed=seed, count=1, more=bad if name == "two" else [])
    ingest(store, max_frames=settings.model.max_frames, quiet_s=0, say=lambda line: None)
    found = drops(store)
    before, after = made(settings, tmp_path / "before", {}), made(settings, tmp_path / "after", found)
    assert {name: after.facts[name] for name in ("train_pairs", "held_out_pairs", "drops", "drop_pairs")} == {
        "train_pairs": 12 + 8,
        "held_out_pairs": 8,
        "drops": 2,
        "drop_pairs": 8,
    }
    assert after.facts["quarantined"] == 2
    read, alone = (
        PreferenceDataset(store.fetch(done.outputs["preferences"]), max_pixels=64 * 64, max_frames=8)
        for done in (after, before)
    )
    assert read.pairs("held_out") == alone.pairs("held_out")
    for task in Task:
        assert [pair.id.split("/")[0] for pair in read.pairs("train", task)[:2]] == list(found)
        assert read.pairs("train", task)[2:] == alone.pairs("train", task)
    assert read.summary()["drops"] == dict.fromkeys(found, 4)


def test_a_drop_that_is_gone_from_the_store_says_how_to_have_it_back(settings: Settings, tmp_path: Path) -> None:
    gone = {"drop-000000000000": ArtifactRef(kind="drop", digest="0" * 64, size=1, n_files=1)}
    with pytest.raises(ArtifactMissing, match=r"^drop-000000000000: .* put its files into the inbox once more"):
        made(settings, tmp_path / "scratch", gone)
