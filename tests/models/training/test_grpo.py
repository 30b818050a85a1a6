"""Group-relative optimisation on the tiny base: what it hands to the model."""

from pathlib import Path
from typing import Any

import pytest

from configs.schema import Grpo, Model, Runtime
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from models.training.compute import Compute
from tests.models.training.test_sft import BASE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_image_tokens_are_marked_where_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a batch whose prompts differ in length, each token of an image is of the image type, and no other is."""
    from models.training import grpo, rollouts

    # Of each task's two pairs one prefers the first candidate.
    made = [make_pair(task, at + at // 4, seed=0, held_out=False) for at, task in enumerate(list(Task) * 2)]
    blobs = {uri: blob for one in made for uri, blob in one.blobs.items()}
    pairs = [one.pair for one in made]
    (tmp_path / "data").mkdir()
    write_dataset(tmp_path / "data", {"train": pairs, "held_out": pairs}, blobs)
    given: list[tuple[Any, Any]] = []
    compute = rollouts.GRPOTrainer._get_per_token_logps_and_entropies

    def watched(trainer: Any, model: Any, input_ids: Any, *args: Any, **more: Any) -> Any:
        given.append((input_ids, more["mm_token_type_ids"]))
        return compute(trainer, model, input_ids, *args, **more)

    monkeypatch.setattr(rollouts.GRPOTrainer, "_get_per_token_logps_and_entropies", watched)
    section = Grpo(
        preset="modern", group=2, prompts_per_step=4, micro_batch=8, epochs=0.25, learning_rate=1e-5, max_tokens=4,
        checkpoint_every=9, validate_every=9,
    )  # fmt: skip
    how = Compute(0, Model(), Runtime(device="cpu", generation_batch=8))
    media = PreferenceDataset(tmp_path / "data", max_pixels=147_456, max_frames=8)
    grpo.train_grpo(BASE, pairs, pairs[:2], media, grpo=section, compute=how, scratch=tmp_path / "trainer")
    image = grpo.load_processor(BASE).image_token_id
    assert any((ids == image).any() for ids, _ in given)
    assert any(ids.shape[0] > 1 and len(set((ids == image).sum(dim=1).tolist())) > 1 for ids, _ in given)
    for ids, types in given:
        prompt = types.shape[1]  # a completion's types may follow
        assert ((ids[:, :prompt] == image) == (types == 1)).all()
