"""A store with a little of everything that the workbench shows, and the workbench over it on a free port."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from configs.load import load_settings
from configs.schema import Settings
from models.generation.endpoint_address import Endpoint
from models.generation.limits import Limits
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from models.shapes.teacher_answers import Faults
from models.shapes.teacher_server import TeacherServer
from models.teacher.asking import ask_all
from models.teacher.distillation import distill
from models.training.selection import rejection
from tasks.pipeline.pinning import MODEL_TAG
from tasks.pipeline.run import open_store
from tasks.store.artifacts import ArtifactRef, IndexEntry, Store
from tasks.tracking.registry import DIGEST_TAG, register, set_alias
from tasks.tracking.runs import Tracker
from tasks.workbench.app import make_app
from tests.tasks.serving.running import BASE, listening

TRAIN, HELD_OUT = 10, 2  # pairs a task
INJECTED = "<script>document.title = 'taken'</script>"


class Nothing:
    """A store of answers that remembers none."""

    def get(self, digest: str) -> dict[str, Any] | None:
        return None

    def put(self, digest: str, value: dict[str, Any]) -> None:
        pass


def settings_below(folder: Path, *sets: str) -> Settings:
    places = [f"storage.root={folder}/store", f"storage.cache_dir={folder}/cache"]
    tracking = [f"tracking.uri=sqlite:///{folder}/mlflow.db"]
    return load_settings("shapes", [*places, *tracking, "evaluate.max_tokens=24", *sets])


def fill(settings: Settings, folder: Path) -> None:
    """Results of every stage that the workbench shows, and two models that differ as champion and challenger."""
    store = open_store(settings)
    preferences = _preferences(store, folder)
    _record(store, "prepare", {"preferences": preferences})
    dataset = PreferenceDataset(store.fetch(preferences), max_pixels=147_456, max_frames=8)
    distilled = _distilled(store, dataset, folder)
    _record(store, "distill", {"distilled": distilled}, preferences=preferences)
    base, other = store.publish("model", BASE), store.publish("model", _disturbed(folder))
    _record(store, "base", {"model": base})
    _record(store, "cold-start", {"model": other}, base=base, preferences=preferences, distilled=distilled)
    sampled = _sampled(store, dataset, folder)
    _record(store, "rejection-sampling", {"model": other, "trajectories": sampled}, preferences=preferences)
    _grpo(settings, store, other, preferences, folder)
    for alias, ref, mark in (("champion", base, "1"), ("challenger", other, "2")):
        uri, name = settings.tracking.uri, settings.tracking.registered_model
        tags = {DIGEST_TAG: mark * 64, MODEL_TAG: ref.digest}
        made = register(uri, name, source_uri=store.uri(ref), run_id="", tags=tags)
        set_alias(uri, name, alias, made.version)


def _preferences(store: Store, folder: Path) -> ArtifactRef:
    out = folder / "preferences"
    out.mkdir()
    made = {
        split: [
            make_pair(task, at, seed=5, held_out=held_out)
            for task in Task
            for at in range(HELD_OUT if held_out else TRAIN)
        ]
        for split, held_out in (("train", False), ("held_out", True))
    }
    blobs = {uri: data for some in made.values() for one in some for uri, data in one.blobs.items()}
    write_dataset(
        out, {"train": [m.pair for m in made["train"]], "held_out": [m.pair for m in made["held_out"]]}, blobs
    )
    return store.publish("preferences", out)


def _distilled(store: Store, dataset: PreferenceDataset, folder: Path) -> ArtifactRef:
    out = folder / "distilled"
    out.mkdir()
    limits = Limits(backoff_s=0.01, max_attempts=12)
    with TeacherServer(Faults(wrong_perception=0.3, broken_grammar=0.3), seed=3) as teacher:
        endpoint = Endpoint(teacher.base_url, teacher.api_key, teacher.model)
        ask = partial(ask_all, endpoint=endpoint, limits=limits, store=Nothing())
        distill(dataset.pairs("train"), dataset, out, ask=ask)
    return store.publish("distilled", out)


def _sampled(store: Store, dataset: PreferenceDataset, folder: Path) -> ArtifactRef:
    """What rejection sampling writes, with a text that a page must not run."""
    out = folder / "trajectories"
    out.mkdir()
    pairs = dataset.pairs("train")
    texts = ["Image 1 is better", f"{INJECTED} is better", "<think>", "Image 2 is better"]
    rows = [
        {"pair_id": pair.id, "swapped": False, "text": text, "rejection": rejection(text, pair)}
        for pair in pairs[:3]
        for text in texts
    ]
    pq.write_table(pa.Table.from_pylist(rows), out / "sampled.parquet")
    rates = [{"pair_id": pair.id, "task": str(pair.task), "samples": 4, "right": 0, "pass_rate": 0.0} for pair in pairs]
    pq.write_table(pa.Table.from_pylist(rates), out / "pass_rates.parquet")
    return store.publish("trajectories", out)


def _grpo(settings: Settings, store: Store, model: ArtifactRef, preferences: ArtifactRef, folder: Path) -> None:
    out = folder / "history"
    out.mkdir()
    log = [{"step": at, "reward": 1.0 + at / 10, "rewards/accuracy_reward/mean": at / 10} for at in range(1, 6)]
    validation = [{"step": at, "accuracy": 0.5 + at / 100} for at in (0, 5)]
    history = {"log": log, "validation": validation, "best": {"step": 5, "accuracy": 0.55}}
    (out / "history.json").write_text(json.dumps(history))
    tracker = Tracker.connect(settings.tracking.uri, settings.tracking.experiment)
    columns = {
        "completion": ["a right one", "a wrong one"],
        "advantage": [0.7, -0.7],
        "format_reward": [1.0, 1.0],
        "accuracy_reward": [1.0, 0.0],
    }
    with tracker.run("grpo") as run:
        run.log_table("completions", columns, step=5)
        ids = {"mlflow": run.run_id, "mlflow_url": run.url}
    outputs = {"model": model, "history": store.publish("history", out)}
    _record(store, "grpo", outputs, run_ids=ids, preferences=preferences)


def _disturbed(folder: Path) -> Path:
    """The base with noise on its weights: it answers in the same words, and often otherwise."""
    out = folder / "disturbed"
    shutil.copytree(BASE, out)
    generator = torch.Generator().manual_seed(1)
    weights = load_file(out / "model.safetensors")
    for name, weight in weights.items():
        weights[name] = weight + 0.1 * weight.std() * torch.randn(weight.shape, generator=generator)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return out


def _record(
    store: Store,
    stage: str,
    outputs: dict[str, ArtifactRef],
    run_ids: dict[str, str] | None = None,
    **inputs: ArtifactRef,
) -> None:
    facts = {"seconds": 3.0, "peak_memory_mib": 100}
    key = stage.encode().hex().ljust(64, "0")[:64]
    entry = IndexEntry(stage=stage, key=key, outputs=outputs, inputs=inputs, run_ids=run_ids or {}, facts=facts)
    store.record(entry)


@contextmanager
def workbench(settings: Settings, token: str = "") -> Iterator[str]:
    """The address of a running workbench."""
    with listening(make_app(settings, token=token)) as (_, url):
        yield url
