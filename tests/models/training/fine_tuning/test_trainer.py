"""A step in parts of like length has the gradients of stock TRL's, reads each row once, and resumes exactly."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.schema import Lora, Model, Runtime, Sft
from models.media import vision_cache
from models.media.vision_cache import VisionCache
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from models.training.compute import Compute
from models.training.health import FiniteGuard

BASE = Path(__file__).resolve().parents[4] / "models" / "shapes" / "base"
TASKS = (Task.IMAGE_GENERATION, Task.VIDEO_UNDERSTANDING)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Counting(PreferenceDataset):
    """Counts how often each medium's frames are asked for."""

    asked: Counter[str]

    def frames(self, uri: str) -> list[Any]:
        """As ever, counted."""
        self.asked[uri] += 1
        return super().frames(uri)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Counting, list[Any], list[str]]:
    made = [make_pair(TASKS[at % 2], at // 2, seed=0, held_out=False) for at in range(8)]
    folder = tmp_path_factory.mktemp("data")
    pairs = [one.pair for one in made]
    write_dataset(folder, {"train": pairs}, {uri: blob for one in made for uri, blob in one.blobs.items()})
    media = Counting(folder, max_pixels=147_456, max_frames=8)
    media.asked = Counter()
    texts = [f"<think>\n{'clean ' * (1 + 5 * at)}</think>" for at in range(6)]  # of many lengths
    return media, pairs, texts


def tuned(
    data: Any, folder: Path, patch: pytest.MonkeyPatch, *, lora: Lora | None, micro_batch: int = 8, **more: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Gradients by step, and what `train_sft` says."""
    from models.training.sft import train_sft

    media, pairs, texts = data
    gradients: list[dict[str, Any]] = []

    def keep(guard: Any, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        named = model.named_parameters()
        gradients.append({name: one.grad.clone() for name, one in named if one.grad is not None})

    patch.setattr(FiniteGuard, "on_pre_optimizer_step", keep)
    sft = Sft(
        epochs=2, learning_rate=1e-3, schedule="constant", warmup=0.0, batch=4, micro_batch=min(4, micro_batch),
        lora=lora, checkpoint_every=1,
    )  # fmt: skip
    how: Any = {"sft": sft, "section": "cold_start", "compute": Compute(0, Model(), Runtime(device="cpu"))}
    how |= {"scratch": folder / "trainer", "direct": pairs[6:]} | more
    facts = train_sft(BASE, pairs[:6], texts, media, folder / "out", **how)
    return gradients, facts


def losses(facts: dict[str, Any]) -> list[float]:
    return [row["loss"] for row in facts["log"] if "loss" in row]


def stock(**options: Any) -> Any:
    """TRL's own trainer on the same rows."""
    from trl import SFTTrainer

    rows = options.pop("rows")
    del options["micro_tokens"], options["micro_batch"]
    return SFTTrainer(train_dataset=rows, **options)


@pytest.mark.parametrize("lora", [Lora(rank=4, alpha=8, dropout=0.0), None])
def test_gradients_are_those_of_stock_trl(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: Lora | None
) -> None:
    parts, facts = tuned(data, tmp_path / "ours", monkeypatch, lora=lora, micro_batch=2)
    with monkeypatch.context() as patch:
        patch.setattr("models.training.fine_tuning.trainer.StepwiseSft", stock)
        whole, expected = tuned(data, tmp_path / "stock", patch, lora=lora)
    assert losses(facts) == pytest.approx(losses(expected), abs=1e-5)
    assert len(parts) == len(whole) == 4
    assert parts[0].keys() == whole[0].keys()
    for name, gradient in whole[0].items():
        assert torch.allclose(parts[0][name], gradient, rtol=1e-4, atol=1e-5), name
    assert any(float(one.abs().max()) > 1e-3 for one in whole[0].values()), "there is no gradient to compare"


def test_rows_are_read_once_and_features_that_were_let_go_are_computed_again(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.media.vision_cache import MediaFeatures

    lora = Lora(rank=4, alpha=8, dropout=0.0)
    made = MediaFeatures.__init__
    found = {}
    for name, budget in (("kept", 2**30), ("gone", 0)):
        cache = VisionCache(budget)
        with monkeypatch.context() as patch:
            patch.setattr(MediaFeatures, "__init__", lambda self, core, cache=cache: made(self, core, cache))
            data[0].asked.clear()
            _, facts = tuned(data, tmp_path / name, patch, lora=lora, micro_batch=2)
        found[name] = losses(facts), max(data[0].asked.values())
    assert found["kept"][1] == 1, "a row was read again"
    assert found["gone"][1] > 1
    assert found["kept"][0] == found["gone"][0]
    assert vision_cache.SHARED.budget == 2**30


def test_a_run_with_adapters_resumes_bit_for_bit(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lora = Lora(rank=4, alpha=8, dropout=0.0)
    tuned(data, tmp_path / "whole", monkeypatch, lora=lora, micro_batch=2)
    monkeypatch.setattr(vision_cache, "SHARED", VisionCache())
    begun = tmp_path / "whole" / "trainer" / "checkpoint-3"  # within the second epoch
    tuned(data, tmp_path / "resumed", monkeypatch, lora=lora, micro_batch=2, resume_from=begun)
    made = [(tmp_path / name / "out" / "model.safetensors").read_bytes() for name in ("whole", "resumed")]
    assert made[0] == made[1]
