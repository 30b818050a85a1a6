"""A stage opens the splits that it declares and no other: neither their pairs nor what only they show."""

import ast
import inspect
from pathlib import Path
from typing import Any, cast

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import DataError, SplitSealed
from models.pairs.dataset import write_dataset
from models.pairs.preference import SPLITS, Split, Task
from models.sources.shapes import read_shapes
from models.training.worker.plan import TrainingPlan
from tasks.pipeline.child import Child, Job
from tasks.pipeline.graph import STAGES, named
from tasks.pipeline.run import open_store
from tasks.stages.context import Context
from tasks.store.artifacts import ArtifactRef

OPENED = {
    "distill": {"train"},
    "cold-start": {"train"},
    "sampling": {"train"},
    "rejection-sampling": {"train"},
    "grpo": {"train", "validation"},
    "evaluate": {"held_out"},
    "promote": {"train", "held_out"},
}
SPLIT_NAMES: tuple[Split, ...] = SPLITS


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings("shapes", (f"storage.root={tmp_path / 'store'}", f"storage.cache_dir={tmp_path / 'cache'}"))


@pytest.fixture
def preferences(settings: Settings, tmp_path: Path) -> ArtifactRef:
    splits, blobs = read_shapes(train_pairs=2, validation_pairs=2, held_out_pairs=2, seed=0)
    (tmp_path / "made").mkdir()
    write_dataset(tmp_path / "made", splits, blobs)
    return open_store(settings).publish("preferences", tmp_path / "made")


def context_of(stage: str, settings: Settings, preferences: ArtifactRef, scratch: Path) -> Context:
    """What the body of a stage works with; nothing is tracked."""
    store = open_store(settings)
    job = Job(stage=stage, key="0" * 64, body="", settings=settings, inputs={"preferences": preferences})
    run = cast(Any, None)
    return Context(job=job, store=store, work=store.work(stage, job.key), run=run, child=Child(), scratch=scratch)


def test_every_stage_that_is_given_preferences_is_told_of_here() -> None:
    assert {name for name, stage in STAGES.items() if "preferences" in stage.inputs} == set(OPENED)
    assert {name: set(stage.opens) for name, stage in STAGES.items() if name in OPENED} == OPENED


@pytest.mark.parametrize("split", SPLIT_NAMES)
@pytest.mark.parametrize("stage", OPENED)
def test_a_stage_opens_what_it_declares_and_nothing_else(
    stage: str, split: Split, settings: Settings, preferences: ArtifactRef, tmp_path: Path
) -> None:
    everything = context_of("prepare", settings, preferences, tmp_path).input("preferences")
    dataset = context_of(stage, settings, preferences, tmp_path).preferences()
    splits, _ = read_shapes(train_pairs=2, validation_pairs=2, held_out_pairs=2, seed=0)
    shown = [medium.uri for pair in splits[split] for medium in pair.media()]
    assert everything.is_dir()
    if split in OPENED[stage]:
        assert dataset.pairs(split) == splits[split]
        assert all(dataset.frames(uri) for uri in shown)
        return
    with pytest.raises(SplitSealed, match=f"the {split} split is sealed here"):
        dataset.pairs(split)
    with pytest.raises(SplitSealed, match=f"the {split} split is sealed here"):
        dataset.pairs(split, Task.IMAGE_GENERATION)
    for uri in shown:
        with pytest.raises(SplitSealed, match="is not shown by any pair of"):
            dataset.frames(uri)
        with pytest.raises(SplitSealed):
            dataset.blob(uri)


@pytest.mark.parametrize("stage", OPENED)
def test_published_reasoning_is_of_the_training_split(
    stage: str, settings: Settings, preferences: ArtifactRef, tmp_path: Path
) -> None:
    dataset = context_of(stage, settings, preferences, tmp_path).preferences()
    assert dataset.summary()["splits"].keys() == set(SPLITS), "counts show no pair"
    if "train" in OPENED[stage]:
        assert dataset.reasoning() == {}
    else:
        with pytest.raises(SplitSealed):
            dataset.reasoning()


@pytest.mark.parametrize("stage", OPENED)
def test_a_trainers_own_process_opens_the_stages_splits_alone(
    stage: str, settings: Settings, preferences: ArtifactRef, tmp_path: Path
) -> None:
    sealed = context_of(stage, settings, preferences, tmp_path).sealed_preferences()
    places = {name: tmp_path / name for name in ("source", "out", "scratch")}
    how: dict[str, Any] = {"model": settings.model, "runtime": settings.runtime, "sft": settings.cold_start}
    plan = TrainingPlan(section="cold_start", seed=0, **how, **places, **sealed)
    plan.write(tmp_path)
    dataset = TrainingPlan.read(tmp_path).dataset()
    for split in SPLITS:
        if split in OPENED[stage]:
            dataset.pairs(split)
        else:
            with pytest.raises(SplitSealed):
                dataset.pairs(split)


@pytest.mark.parametrize("stage", OPENED)
def test_a_body_has_no_other_way_to_its_preferences(stage: str) -> None:
    """Its module opens no dataset by itself, and reads none of its files."""
    module = inspect.getmodule(named(STAGES[stage].body))
    assert module is not None
    tree = ast.parse(inspect.getsource(module))
    called = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [one for one in called if one.startswith("PreferenceDataset(") or "input('preferences')" in one]
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not {text for text in texts if text.startswith("pairs-")}


def test_preferences_of_before_there_were_three_splits_say_so(settings: Settings, tmp_path: Path) -> None:
    splits, blobs = read_shapes(train_pairs=2, held_out_pairs=2, seed=0)
    (tmp_path / "old").mkdir()
    write_dataset(tmp_path / "old", splits, blobs)
    ref = open_store(settings).publish("preferences", tmp_path / "old")
    dataset = context_of("grpo", settings, ref, tmp_path).preferences()
    with pytest.raises(DataError, match="has no validation split, as of before there were three: refresh prepare"):
        dataset.pairs("validation")
    (pair,) = dataset.pairs("train", Task.IMAGE_GENERATION)[:1]
    assert dataset.frames(pair.media()[0].uri), "what it has can still be shown"
