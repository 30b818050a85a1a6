"""Judgments are found again by what was judged: the model and the held-out pairs, whatever is trained on."""

from pathlib import Path
from typing import Any, cast

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import ArtifactCorrupt
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import Task
from models.sources.shapes import read_shapes
from models.sources.submissions import add_submissions
from models.verdict.grammar import answer_text
from tasks.pipeline.child import Child, Job
from tasks.pipeline.run import open_store
from tasks.stages.context import Context
from tasks.stages.evaluate import JUDGING, MODES, held_out_digest, judged_rows
from tasks.store.artifact_types import ArtifactRef
from tasks.store.artifacts import Store
from tests.tasks.shapes_drop import write_drop


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("shapes", (f"storage.root={tmp_path / 'store'}", f"storage.cache_dir={tmp_path / 'cache'}"))


def preferences(store: Store, folder: Path, *, dropped: int = 0, held_out: int = 1) -> ArtifactRef:
    """A small version of the preferences, with `dropped` pairs a task from the inbox."""
    splits, blobs = read_shapes(train_pairs=2, held_out_pairs=held_out + 1, seed=0)
    write_drop(folder / "drop", seed=7, count=dropped)
    added = add_submissions(splits, blobs, {"drop-a": folder / "drop"}, max_frames=8)
    (folder / "made").mkdir()
    write_dataset(folder / "made", added.splits, added.blobs, added.invalid, added.counts)
    return store.publish("preferences", folder / "made")


def model(store: Store, folder: Path) -> ArtifactRef:
    folder.mkdir()
    (folder / "weights").write_text(folder.name)
    return store.publish("model", folder)


def context(settings: Settings, folder: Path, key: str, inputs: dict[str, ArtifactRef]) -> Context:
    """An `evaluate` running that tracks nothing. It has no model to load: to judge a pair would fail."""
    folder.mkdir()
    store = open_store(settings)
    job = Job(stage="evaluate", key=key, body="", settings=settings, inputs=inputs)
    run = cast(Any, None)
    return Context(job=job, store=store, work=store.work("evaluate", key), run=run, child=Child(), scratch=folder)


def judged_before(context: Context, name: str) -> None:
    """Leave the parts that an interrupted attempt had judged, in which the first candidate is always the better."""
    dataset = PreferenceDataset(context.input("preferences"), max_pixels=64 * 64, max_frames=8)
    for task in Task:
        for mode in MODES:
            said = [
                [pair.id, swapped, answer_text(task, 1), False]
                for pair in dataset.pairs("held_out", task)
                for swapped in (False, True)
            ]
            context.work.put_json(f"judged/{name}-{task}-{mode}.json", said)


def test_new_training_pairs_change_no_held_out_digest_and_other_held_out_pairs_do(
    settings: Settings, tmp_path: Path
) -> None:
    store = open_store(settings)
    first = preferences(store, tmp_path / "a")
    more = preferences(store, tmp_path / "b", dropped=2)
    other = preferences(store, tmp_path / "c", held_out=2)
    assert len({first.digest, more.digest, other.digest}) == 3
    assert held_out_digest(store, first) == held_out_digest(store, more) != held_out_digest(store, other)


def test_a_model_is_not_judged_again_after_an_ingestion(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    judge = model(store, tmp_path / "model")
    before, after = preferences(store, tmp_path / "a"), preferences(store, tmp_path / "b", dropped=2)
    first = context(settings, tmp_path / "first", "1" * 64, {"base": judge, "preferences": before})
    judged_before(first, "base")
    rows = judged_rows(first, "base")
    assert len(rows) == 4 * 2 * 2 * 2 and {row.right for row in rows if row.mode == "direct"} == {True, False}
    again = context(settings, tmp_path / "again", "2" * 64, {"base": judge, "preferences": after})
    assert judged_rows(again, "base") == rows
    (entry,) = store.entries(JUDGING)
    assert entry.inputs["preferences"] == before


def test_other_held_out_pairs_another_model_and_another_protocol_are_judged_anew(
    settings: Settings, tmp_path: Path
) -> None:
    store = open_store(settings)
    judge, other = model(store, tmp_path / "model"), model(store, tmp_path / "other")
    data, more = preferences(store, tmp_path / "a"), preferences(store, tmp_path / "b", held_out=2)
    longer = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"max_tokens": 7})})
    coarser = settings.model_copy(update={"model": settings.model.model_copy(update={"dtype": "bfloat16"})})
    cases = [
        (settings, judge, data),
        (settings, other, data),
        (settings, judge, more),
        (longer, judge, data),
        (coarser, judge, data),
    ]
    for number, (chosen, which, shown) in enumerate(cases):
        inputs = {"base": which, "preferences": shown}
        at_work = context(chosen, tmp_path / str(number), str(number) * 64, inputs)
        judged_before(at_work, "base")
        judged_rows(at_work, "base")
        assert len(store.entries(JUDGING)) == number + 1


def test_preferences_without_held_out_pairs_are_named(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "file").write_text("x")
    with pytest.raises(ArtifactCorrupt, match=r"has no pairs-held_out\.parquet"):
        held_out_digest(store, store.publish("preferences", tmp_path / "odd"))


def test_resamples_examples_and_the_seed_have_no_model_judged_again(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    judge, data = model(store, tmp_path / "model"), preferences(store, tmp_path / "a")
    fewer = settings.evaluate.model_copy(update={"bootstrap": 7, "examples": 1})
    for number, chosen in enumerate((settings, settings.model_copy(update={"evaluate": fewer, "seed": 9}))):
        at_work = context(chosen, tmp_path / f"{number}", f"{number}" * 64, {"base": judge, "preferences": data})
        judged_before(at_work, "base")
        judged_rows(at_work, "base")
    assert len(store.entries(JUDGING)) == 1
