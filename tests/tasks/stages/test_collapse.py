"""The stage `grpo` itself, on a model that knows its few pairs: a collapse fails by name, a healthy run ends well."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.load import load_settings
from configs.schema import Model, Runtime, Settings, Sft
from models.errors import TrainingCollapsed
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from models.verdict.grammar import Dimension, Verdict
from models.verdict.rendering import render_verdict
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.run import open_store
from tasks.stages.training import grpo
from tasks.store.artifacts import ArtifactRef, Store
from tests.tasks.serving.running import BASE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Inputs = dict[str, ArtifactRef]
PAIRS = [make_pair(Task.IMAGE_GENERATION, at, seed=0, held_out=False) for at in range(4)]


class Listener(Child):
    """Keeps the lines that the stage logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Inputs]:
    """A folder with a store, and the stage's inputs in it: four pairs, and a model that was shown them often."""
    from models.training.compute import Compute
    from models.training.sft import train_sft

    folder = tmp_path_factory.mktemp("collapse")
    data = folder / "preferences"
    data.mkdir()
    pairs = [one.pair for one in PAIRS]
    blobs = {uri: blob for one in PAIRS for uri, blob in one.blobs.items()}
    write_dataset(data, {"train": pairs, "validation": pairs, "held_out": pairs}, blobs)
    sft = Sft(
        epochs=25, learning_rate=1e-3, schedule="constant", warmup=0.0, batch=4, micro_batch=4, checkpoint_every=1000
    )  # fmt: skip
    how: Any = {"sft": sft, "section": "cold_start", "compute": Compute(0, Model(), Runtime(device="cpu"))}
    texts = [answered(pair.task, pair.preferred) for pair in pairs]
    media = PreferenceDataset(data, max_pixels=147_456, max_frames=8)
    train_sft(BASE, pairs, texts, media, folder / "taught", **how, scratch=folder / "trainer")
    sampled = folder / "trajectories"
    sampled.mkdir()
    rates = {"pair_id": [pair.id for pair in pairs], "pass_rate": [0.5] * len(pairs)}
    pq.write_table(pa.table(rates), sampled / "pass_rates.parquet")
    store = open_store(settings_below(folder))
    inputs = {"model": folder / "taught", "preferences": data, "trajectories": sampled}
    return folder, {name: store.publish(name, path) for name, path in inputs.items()}


def answered(task: Task, preferred: Any) -> str:
    dimension = Dimension("Clarity", (9, 3) if preferred == 1 else (3, 9), ("clean", "clean"))
    return render_verdict(Verdict.from_dimensions(task, (dimension,), preferred))


def settings_below(folder: Path, **changes: Any) -> Settings:
    small = {
        "group": 4, "prompts_per_step": 4, "micro_batch": 16, "pairs": 4, "solved_share": 0.0, "max_tokens": 64,
        "temperature": 1.5, "validation_pairs": 4, "checkpoint_every": 1, "validate_every": 2,
    }  # fmt: skip
    sets = [f"grpo.{name}={value}" for name, value in {**small, **changes}.items()]
    places = [f"storage.root={folder}/store", f"storage.cache_dir={folder}/cache"]
    return load_settings("shapes", [*places, f"tracking.uri=sqlite:///{folder}/mlflow.db", *sets])


def optimised(folder: Path, inputs: Inputs, scratch: Path, key: str, **changes: Any) -> tuple[Done, list[str]]:
    """The stage's body in this process, and what it said; each pair is a prompt in both presentation orders."""
    listener, settings = Listener(), settings_below(folder, **changes)
    job = Job(stage="grpo", key=key, body="tasks.stages.training:grpo", settings=settings, inputs=inputs)
    return grpo(job, listener, scratch), listener.lines


def test_a_collapse_is_an_error_that_names_its_step_and_publishes_nothing(
    places: tuple[Path, Inputs], tmp_path: Path
) -> None:
    folder, inputs = places
    store = open_store(settings_below(folder))
    before = handed_on(store)
    with pytest.raises(TrainingCollapsed) as raised:
        optimised(folder, inputs, tmp_path, "c" * 64, learning_rate=1.0, no_spread_steps=3, epochs=8.0)
    said = str(raised.value)
    assert "the training collapsed at step 2: from there to its end at step 4 " in said
    assert "grpo.learning_rate (1)" in said and "grpo.max_grad_norm" in said
    assert not raised.value.retryable
    assert handed_on(store) == before
    store.verify(inputs["model"])  # the last good model: that of the start, since the first step ruined it


def handed_on(store: Store) -> set[str]:
    """The digests of the models and histories in the store."""
    return {ref.digest for kind in ("model", "history") for ref in store.artifacts(kind)}


def test_a_healthy_run_is_not_ended_by_the_default_limit_of_steps_without_spread(
    places: tuple[Path, Inputs], tmp_path: Path
) -> None:
    folder, inputs = places
    limit = settings_below(folder).grpo.no_spread_steps
    changes = {"prompts_per_step": 2, "micro_batch": 8, "epochs": 6.0, "validate_every": 24}
    done, said = optimised(folder, inputs, tmp_path, "d" * 64, learning_rate=1e-6, **changes)
    history = open_store(settings_below(folder)).fetch(done.outputs["history"]) / "history.json"
    steps = max(row["step"] for row in json.loads(history.read_text())["log"])
    assert steps == 24 and 0 < limit < steps
    assert "collapsed_at" not in done.facts
    assert not [line for line in said if "ended early" in line or "collapsed" in line]
