"""Small trainings for tests: the tiny base on few pairs, by each engine, and what was reported of them."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.schema import Distributed, Grpo, Model, Runtime, Sft
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from models.training.hooks import Hooks
from models.training.worker.plan import Examples, TrainingPlan, fine_tuned, optimised
from models.verdict.grammar import Dimension, Verdict
from models.verdict.rendering import render_verdict
from tasks.training.start import train

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"
TWO = Distributed(engine="torchrun", processes=2)
TUNING = Sft(
    epochs=2, learning_rate=1e-3, schedule="constant", warmup=0.0, batch=4, micro_batch=2, checkpoint_every=2
)  # fmt: skip
OPTIMISING = Grpo(
    preset="paper", group=2, prompts_per_step=4, micro_batch=4, learning_rate=1e-5, max_tokens=12, checkpoint_every=1,
    validate_every=1, completions_every=1, epochs=1.0,
)  # fmt: skip


def write_pairs(folder: Path, count: int) -> list[PreferencePair]:
    """A preference dataset of so many pairs, which are all of its splits."""
    made = [make_pair(Task.IMAGE_GENERATION, at, seed=0, held_out=False) for at in range(count)]
    pairs = [one.pair for one in made]
    folder.mkdir(parents=True)
    blobs = {uri: blob for one in made for uri, blob in one.blobs.items()}
    write_dataset(folder, {"train": pairs, "validation": pairs, "held_out": pairs}, blobs)
    return pairs


def verdicts(pairs: list[PreferencePair]) -> list[str]:
    """A short valid verdict for each pair."""
    texts = []
    for pair in pairs:
        scores = (9, 3) if pair.preferred == 1 else (3, 9)
        dimension = Dimension("Aesthetics", scores, ("clean", "clean"))
        texts.append(render_verdict(Verdict.from_dimensions(pair.task, (dimension,), pair.preferred)))
    return texts


@dataclass
class Reports:
    """What a training's hooks were called with."""

    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    checkpoints: list[tuple[int, list[str]]] = field(default_factory=list)
    best: list[tuple[int, list[str]]] = field(default_factory=list)
    tables: list[tuple[int, int]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def hooks(self) -> Hooks:
        """Hooks that note."""
        return Hooks(
            on_checkpoint=lambda folder, step: self.checkpoints.append((step, names(folder))),
            on_metrics=lambda step, values: self.metrics.append((step, dict(values))),
            on_best=lambda folder, step: self.best.append((step, names(folder))),
            on_completions=lambda step, rows: self.tables.append((step, len(rows))),
        )

    def figures(self, name: str) -> dict[int, float]:
        """A figure by step; the last where a step was repeated."""
        return {step: values[name] for step, values in self.metrics if name in values}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def planned(data: Path, folder: Path, distributed: Distributed | None = None, **section: Any) -> TrainingPlan:
    """A plan in a new folder; `section` is one of `sft` and `grpo`."""
    for name in ("model", "trainer"):
        (folder / name).mkdir(parents=True)
    return TrainingPlan(
        section="grpo" if "grpo" in section else "cold_start",
        seed=0,
        model=Model(),
        runtime=Runtime(device="cpu", threads=1, generation_batch=8, distributed=distributed or Distributed()),
        source=section.pop("source", BASE),
        media=data,
        opens=("train", "validation"),
        out=folder / "model",
        scratch=folder / "trainer",
        **section,
    )


def examples_of(plan: TrainingPlan, count: int | None = None) -> Examples:
    """The plan's training pairs with verdicts, the first `count`, and some to validate on."""
    media = PreferenceDataset(plan.media, max_pixels=147_456, max_frames=8)
    pairs = media.pairs("train")[:count]
    if plan.grpo is not None:
        return Examples(pairs, validation=pairs[:3])
    return Examples(pairs, verdicts(pairs))


def trained(plan: TrainingPlan, reports: Reports, count: int | None = None) -> dict[str, Any]:
    """Train as planned."""
    folder = plan.out.parent
    return train(
        folder,
        plan,
        examples_of(plan, count),
        reports.hooks(),
        trainer=fine_tuned if plan.sft else optimised,
        stage="cold-start",
        log=reports.lines.append,
    )


def digest(folder: Path) -> str:
    """The weights of a model."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def distance(first: Path, second: Path) -> float:
    """The largest difference between the weights of two models."""
    from safetensors.torch import load_file

    one, other = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@contextmanager
def once(reached: Callable[[], bool], what: Callable[[], None]) -> Iterator[threading.Event]:
    """Inside, `what` is done as soon as `reached` says so; the event says whether it was."""
    over, happened = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            if reached():
                what()
                happened.set()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield happened
    finally:
        over.set()
        thread.join()
