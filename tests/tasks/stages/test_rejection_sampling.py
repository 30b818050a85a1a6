"""Rejection sampling's texts depend on the pairs alone: not on shards, batches, or which attempt sampled what."""

from pathlib import Path
from typing import Any, cast

import pytest

from configs.load import load_settings
from models.pairs.dataset import write_dataset
from models.pairs.preference import Task
from models.sources.shapes import read_shapes
from models.training.trajectories import Sampled
from tasks.pipeline.child import Child, Job
from tasks.pipeline.run import open_store
from tasks.stages.context import Context
from tasks.stages.rejection_sampling import _sample
from tasks.store.artifacts import ArtifactRef, Store

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"


class At:
    """A store with the tiny base and a few pairs, and an attempt at sampling them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = [f"storage.root={folder}/store", f"storage.cache_dir={folder}/cache", "runtime.threads=1"]
        store = open_store(load_settings("shapes", self.places))
        splits, blobs = read_shapes(train_pairs=2, held_out_pairs=2, seed=0)
        (folder / "made").mkdir()
        write_dataset(folder / "made", splits, blobs, [])
        self.inputs = {
            "model": store.publish("model", BASE),
            "preferences": store.publish("preferences", folder / "made"),
        }

    def context(self, key: str, *settings: str) -> Context:
        chosen = load_settings(
            "shapes", [*self.places, "rejection_sampling.samples=2", "rejection_sampling.max_tokens=24", *settings]
        )
        store: Store = open_store(chosen)
        inputs: dict[str, ArtifactRef] = self.inputs
        job = Job(stage="sampling", key=key * 64, body="", settings=chosen, inputs=inputs)
        run = cast(Any, None)
        work = store.work("sampling", key * 64)
        return Context(job=job, store=store, work=work, run=run, child=Child(), scratch=self.folder)

    def sampled(self, key: str, *settings: str, most: int = 5) -> list[Sampled]:
        context = self.context(key, *settings)
        dataset = context.preferences()
        return _sample(context, [pair for task in Task for pair in dataset.pairs("train", task)][:most])


@pytest.mark.slow
def test_shards_and_batches_of_any_size_give_the_same_texts(tmp_path: Path) -> None:
    at, long = At(tmp_path), "rejection_sampling.stop_malformed=false"  # the base would be stopped at its first words
    whole = at.sampled("a", long)
    assert len({one.text for one in whole}) == len(whole) == 5 * 2 * 2
    assert at.sampled("b", long, "rejection_sampling.shard_pairs=1", "runtime.generation_batch=1") == whole
    assert at.sampled("c", long, "rejection_sampling.shard_pairs=3", "runtime.generation_batch=7") == whole


@pytest.mark.slow
def test_an_attempt_with_shards_of_another_size_reads_no_shard_for_another(tmp_path: Path) -> None:
    at = At(tmp_path)
    at.sampled("a", "rejection_sampling.shard_pairs=1", most=2)
    assert at.sampled("a", "rejection_sampling.shard_pairs=2") == at.sampled("b")
