"""Rollouts in batches: the limits are kept, and no text depends on them, on the attempt or on the adapters' noise."""

from pathlib import Path
from typing import Any

import pytest

from configs.schema import Lora
from models.generation.decoding.loop import Decoding
from models.training.rollouts import CompletionsTrainer
from tests.models.training.test_precision import data, optimised, spread
from tests.models.training.test_token_bound import figures

__all__ = ["data", "spread"]  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CHANGES = {"dtype": "float32", "epochs": 0.5, "learning_rate": 1e-5, "temperature": 0.7}
LIMIT = 300


class Sampled:
    """Each generation's completions, and the rows and width of each of its batches with what may be written."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.completions: list[list[list[int]]] = []
        self.shapes: list[tuple[int, int]] = []
        self.prefilled: list[int] = []
        run, turn = Decoding.run, CompletionsTrainer._generate_single_turn

        def watched(decoding: Decoding, model: Any, inputs: Any) -> Any:
            if decoding.streams is not None:  # not a validation
                rows, width = inputs["input_ids"].shape
                self.prefilled.append(rows)
                self.shapes.append((rows * decoding.samples, width + decoding.max_tokens))
            return run(decoding, model, inputs)

        def kept(trainer: Any, *given: Any, **more: Any) -> Any:
            found = turn(trainer, *given, **more)
            self.completions.append(found[0])
            return found

        patch.setattr(Decoding, "run", watched)
        patch.setattr(CompletionsTrainer, "_generate_single_turn", kept)


@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8, dropout=0.5)])
def test_batches_of_rollouts_keep_the_limits_and_change_no_text(
    data: Any, tmp_path: Path, spread: None, monkeypatch: pytest.MonkeyPatch, lora: Any
) -> None:
    runs = []
    for name, limits in (
        ("whole", {"generation_batch": 64}),
        ("tokens", {"generation_batch": 64, "generation_tokens": LIMIT}),
        ("rows", {"generation_batch": 3}),
    ):
        with monkeypatch.context() as patch:
            sampled = Sampled(patch)
            facts = optimised(data, tmp_path / name, **CHANGES, **limits, lora=lora)
        runs.append((sampled, facts))
    (whole, plain), (bound, tokens), (few, rows) = runs
    assert [count for count, _ in whole.shapes] == [16, 16]
    assert whole.prefilled == [4, 4], "a prompt is prefilled more than once"
    assert len(bound.shapes) > 4
    assert all(count * width <= LIMIT for count, width in bound.shapes)
    assert max(count for count, _ in few.shapes) == 3
    assert whole.completions == bound.completions == few.completions
    first, second = whole.completions
    assert len({tuple(one) for one in first}) > 4, "the base writes one text, so that this could not fail"
    assert first != second
    for facts in (tokens, rows):
        assert figures(facts, "loss") == figures(plain, "loss")
        assert figures(facts, "reward") == figures(plain, "reward")


def test_completions_of_one_prompt_differ_and_another_seed_gives_others(
    data: Any, tmp_path: Path, spread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.models.training import test_precision

    found = []
    for seed in (0, 1):
        with monkeypatch.context() as patch:
            compute = test_precision.Compute
            patch.setattr(test_precision, "Compute", lambda _, *more, own=seed, made=compute: made(own, *more))
            sampled = Sampled(patch)
            optimised(data, tmp_path / str(seed), **CHANGES | {"epochs": 0.25})
        found.append(sampled.completions[0])
    assert found[0] != found[1]
    for group in (found[0][:4], found[0][4:8]):
        assert len({tuple(one) for one in group}) > 1


@pytest.mark.parametrize("preset", ["paper", "cispo"])
def test_a_resumed_optimisation_in_parts_ends_with_the_same_bytes(
    data: Any, tmp_path: Path, spread: None, preset: str
) -> None:
    changes: dict[str, Any] = CHANGES | {"preset": preset, "prompts_per_step": 1, "micro_batch": 4}
    changes |= {"micro_tokens": 200, "generation_tokens": LIMIT, "learning_rate": 1e-4}
    whole = optimised(data, tmp_path / "whole", **changes)
    assert max(figures(whole, "step")) == 8
    resumed = optimised(data, tmp_path / "resumed", resume_from=tmp_path / "whole" / "checkpoint-4", **changes)
    for name in ("loss", "reward", "entropy"):
        assert figures(resumed, name) == figures(whole, name)
    ends = [(tmp_path / name / "checkpoint-8" / "model.safetensors").read_bytes() for name in ("whole", "resumed")]
    assert ends[0] == ends[1]
    assert ends[0] != (tmp_path / "whole" / "checkpoint-4" / "model.safetensors").read_bytes()
    assert resumed["validation"] == whole["validation"]
