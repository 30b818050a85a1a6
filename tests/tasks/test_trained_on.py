"""What rejection sampling and GRPO keep and train on is of the training split alone, in a small real run of both."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.load import load_settings
from models.errors import DataError
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import SPLITS, PreferencePair, Split, Task
from models.sources.shapes import read_shapes
from models.verdict.grammar import Dimension, Verdict
from models.verdict.rendering import render_verdict
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.run import open_store
from tasks.stages.rejection_sampling import rejection_sampling, sample
from tasks.stages.training import grpo
from tasks.store.artifacts import ArtifactRef, Store

BASE = Path(__file__).resolve().parents[2] / "models" / "shapes" / "base"
SETTINGS = (
    "runtime.threads=1",
    "rejection_sampling.pairs=4",
    "rejection_sampling.samples=1",
    "rejection_sampling.shard_pairs=8",
    "rejection_sampling.max_tokens=4",
    "rejection_sampling.sft.epochs=1",
    "rejection_sampling.sft.batch=4",
    "rejection_sampling.sft.micro_batch=4",
    "rejection_sampling.sft.direct_pairs=1",
    "grpo.max_tokens=4",
    "grpo.pairs=4",
    "grpo.validation_pairs=4",
    "grpo.group=2",
    "grpo.prompts_per_step=4",
    "grpo.micro_batch=8",
    "grpo.hard=below_one",
)


class Run:
    """A store with the tiny base and pairs of all three splits, of which the stages' bodies run in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        places = (f"storage.root={folder}/store", f"storage.cache_dir={folder}/cache")
        self.settings = load_settings("shapes", (*places, f"tracking.uri=sqlite:///{folder}/mlflow.db", *SETTINGS))
        self.store: Store = open_store(self.settings)
        self.splits, blobs = read_shapes(train_pairs=4, validation_pairs=4, held_out_pairs=4, seed=0)
        (folder / "made").mkdir()
        write_dataset(folder / "made", self.splits, blobs, [])
        self.preferences = self.store.publish("preferences", folder / "made")

    def ids(self, split: Split) -> set[str]:
        return {pair.id for pair in self.splits[split]}

    def stage(self, name: str, **inputs: ArtifactRef) -> Done:
        body = {"sampling": sample, "rejection-sampling": rejection_sampling, "grpo": grpo}[name]
        scratch = self.folder / name
        scratch.mkdir()
        given = {"preferences": self.preferences, **inputs}
        return body(Job(stage=name, key="0" * 64, body="", settings=self.settings, inputs=given), Child(), scratch)


def right(pair: PreferencePair) -> str:
    preferred = 1 if pair.preferred == 1 else 2
    scores = (8, 3) if preferred == 1 else (3, 8)
    return render_verdict(
        Verdict.from_dimensions(pair.task, (Dimension("Quality", scores, ("calm", "loud")),), preferred)
    )


def answered_before(run: Run, pairs: Iterable[PreferencePair]) -> None:
    """What an interrupted attempt sampled of the first eight pairs: right answers, since the base writes none."""
    rows = [
        {"pair_id": shown.id, "swapped": swapped, "text": right(shown), "rejection": None}
        for pair in pairs
        for swapped, shown in ((False, pair), (True, pair.swapped()))
    ]
    run.store.work("sampling", "0" * 64).put_json("shards/000000-000008.json", rows)


@pytest.mark.slow
def test_of_what_they_keep_and_train_on_every_pair_is_a_training_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    assert all(run.ids(split) for split in SPLITS) and len(set().union(*map(run.ids, SPLITS))) == 48
    train = [pair for task in Task for pair in run.splits["train"] if pair.task == task]
    answered_before(run, train[:8])
    base = run.store.publish("model", BASE)
    trajectories = run.stage("sampling", model=base).outputs["trajectories"]
    rows = {
        name: pq.read_table(run.store.fetch(trajectories) / f"{name}.parquet").to_pylist()
        for name in ("sampled", "kept", "pass_rates")
    }
    held = {name: {row["pair_id"] for row in some} for name, some in rows.items()}
    assert held["sampled"] == held["pass_rates"] == run.ids("train")
    assert held["kept"] == {pair.id for pair in train[:8]}
    hard = {row["pair_id"] for row in rows["pass_rates"] if row["pass_rate"] < 1}
    assert hard == {pair.id for pair in train[8:]}
    tuned = run.stage("rejection-sampling", model=base, trajectories=trajectories)
    assert tuned.outputs["trajectories"] == trajectories
    assert tuned.outputs["model"] != base, "it was fine-tuned on what was kept"

    shown: set[str] = set()
    frames = PreferenceDataset.frames
    monkeypatch.setattr(PreferenceDataset, "frames", lambda self, uri: (shown.add(uri), frames(self, uri))[1])
    trained = run.stage("grpo", model=tuned.outputs["model"], trajectories=trajectories)
    assert trained.facts["trained_on"] == 4
    of = {split: {one.uri for pair in run.splits[split] for one in pair.media()} for split in SPLITS}
    assert shown <= of["train"] | of["validation"] and not shown & of["held_out"]
    assert shown & of["validation"], "to choose a checkpoint by"
    seen = [pair.id for pair in train if {one.uri for one in pair.media()} <= shown]
    assert len(seen) == 4, "as many as it was trained on, so that none of those is of another split"
    said = json.loads((run.store.fetch(trained.outputs["history"]) / "history.json").read_text())
    assert said["validation"] and said["log"]


@pytest.mark.parametrize("split", ["validation", "held_out"])
def test_trajectories_that_name_a_pair_of_another_split_are_refused(tmp_path: Path, split: Split) -> None:
    run = Run(tmp_path)
    (tmp_path / "trajectories").mkdir()
    rates = [{"pair_id": name, "pass_rate": 0.0} for name in sorted(run.ids(split))[:2]]
    pq.write_table(pa.Table.from_pylist(rates), tmp_path / "trajectories" / "pass_rates.parquet")
    trajectories = run.store.publish("trajectories", tmp_path / "trajectories")
    with pytest.raises(DataError, match=r"2 of the pairs .* are not in the training split of these preferences: run"):
        run.stage("grpo", model=run.store.publish("model", BASE), trajectories=trajectories)
