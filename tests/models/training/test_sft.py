"""Supervised fine-tuning on the tiny base: what it changes, what it leaves, and that a resumed run goes on."""

from pathlib import Path
from typing import Any

import pytest

from configs.schema import Lora, Model, Runtime, Sft
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from models.training.hooks import Hooks
from models.verdict.grammar import Dimension, Verdict
from models.verdict.rendering import render_verdict

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreferenceDataset, list[PreferencePair], list[str]]:
    made = [make_pair(Task.IMAGE_GENERATION, at, seed=0, held_out=False) for at in range(16)]
    folder = tmp_path_factory.mktemp("data")
    pairs = [one.pair for one in made]
    blobs = {uri: blob for one in made for uri, blob in one.blobs.items()}
    write_dataset(folder, {"train": pairs, "held_out": pairs}, blobs)
    texts = []
    for pair in pairs:
        scores = (9, 3) if pair.preferred == 1 else (3, 9)
        dimension = Dimension("Aesthetics", scores, ("clean", "clean"))
        texts.append(render_verdict(Verdict.from_dimensions(pair.task, (dimension,), pair.preferred)))
    return PreferenceDataset(folder, max_pixels=147_456, max_frames=8), pairs, texts


def train(data: Any, folder: Path, *, lora: Lora | None = None, **more: Any) -> dict[str, Any]:
    from models.training.compute import Compute
    from models.training.sft import train_sft

    dataset, pairs, texts = data
    sft = Sft(
        epochs=3, learning_rate=1e-3, schedule="constant", warmup=0.0, batch=8, micro_batch=4, lora=lora,
        checkpoint_every=2,
    )  # fmt: skip
    how: Any = {"sft": sft, "section": "cold_start", "compute": Compute(0, Model(), Runtime(device="cpu"))}
    return train_sft(BASE, pairs, texts, dataset, folder / "out", **how, scratch=folder / "trainer", **more)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_the_loss_falls_and_the_vision_tower_stays(data: Any, tmp_path: Path) -> None:
    facts = train(data, tmp_path)
    assert facts["final_loss"] < 0.7 * facts["first_loss"]
    before, after = weights(BASE), weights(tmp_path / "out")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        same = tensor.equal(after[name])
        assert same if "visual" in name else True, name
    assert any(not before[name].equal(after[name]) for name in before if "visual" not in name)


def test_a_resumed_run_goes_on_and_ends_with_the_same_bytes(data: Any, tmp_path: Path) -> None:
    whole = train(data, tmp_path / "whole")
    losses: list[float] = []
    hooks = Hooks(on_metrics=lambda step, values: losses.append(values["loss"]) if "loss" in values else None)
    checkpoint = tmp_path / "whole" / "trainer" / "checkpoint-4"
    resumed = train(data, tmp_path / "resumed", resume_from=checkpoint, hooks=hooks)
    assert losses[0] < 0.8 * whole["first_loss"], "the loss starts again: the weights were lost"
    assert resumed["final_loss"] == whole["final_loss"]
    name = "model.safetensors"
    assert (tmp_path / "whole/out" / name).read_bytes() == (tmp_path / "resumed/out" / name).read_bytes()


def test_lora_is_merged_into_an_ordinary_model(data: Any, tmp_path: Path) -> None:
    from models.backbone import load_model

    train(data, tmp_path, lora=Lora(rank=4, alpha=8, dropout=0.0))
    assert not list((tmp_path / "out").glob("adapter*"))
    before, after = weights(BASE), weights(tmp_path / "out")
    assert before.keys() == after.keys()
    changed = [name for name in before if not before[name].equal(after[name])]
    assert changed
    assert not any("visual" in name for name in changed)
    load_model(tmp_path / "out")


def test_a_batch_that_the_processes_cannot_divide_is_refused() -> None:
    from models.errors import ConfigError
    from models.training.checkpoints import accumulated

    assert accumulated(128, 8, 4) == 4
    for batch, micro_batch, processes in ((128, 8, 3), (8, 8, 2), (60, 8, 1)):
        with pytest.raises(ConfigError, match=f"{batch} completions a step cannot be divided"):
            accumulated(batch, micro_batch, processes)
