"""Micro-batches bounded by tokens: the same steps and gradients, in parts that keep the limit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from configs.schema import Lora
from models.training.health import FiniteGuard
from models.training.prefix import scoring
from models.training.prefix.packing import packed
from tests.models.training.ranks import learn, learn_on_two
from tests.models.training.test_precision import data, fine_tuned, optimised, spread

__all__ = ["data", "spread"]  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TUNED = {"dtype": "float32", "epochs": 3, "micro_batch": 8, "batch": 8, "learning_rate": 1e-4}
OPTIMISED = {"dtype": "float32", "epochs": 0.25, "learning_rate": 1e-5}


class Watched:
    """Gradients by step, and the shape of each micro-batch."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.gradients: list[dict[str, torch.Tensor]] = []
        self.shapes: list[tuple[int, int]] = []
        step = Trainer.training_step

        def noted(trainer: Any, model: Any, inputs: Any, *args: Any) -> Any:
            if "input_ids" in inputs:
                self.shapes.append(tuple(inputs["input_ids"].shape))
            elif "prompt_ids" in inputs:
                rows, prompt = inputs["prompt_ids"].shape
                self.shapes.append((rows, prompt + inputs["completion_ids"].shape[1]))
            return step(trainer, model, inputs, *args)

        def keep(guard: Any, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            named = model.named_parameters()
            self.gradients.append({name: one.grad.clone() for name, one in named if one.grad is not None})

        patch.setattr(Trainer, "training_step", noted)
        patch.setattr(FiniteGuard, "on_pre_optimizer_step", keep)


class PackedShapes:
    """How many tokens each packed sequence has."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.tokens: list[int] = []

        def noted(*given: Any) -> Any:
            row = packed(*given)
            self.tokens.append(len(row.ids))
            return row

        patch.setattr(scoring, "packed", noted)


def compared(plain: Watched, bound: Watched) -> None:
    """The first step's gradients are equal to rounding; later ones follow weights that differ in last digits."""
    first, second = plain.gradients[0], bound.gradients[0]
    assert first.keys() == second.keys()
    for name, gradient in first.items():
        largest = float(gradient.abs().max())
        assert torch.allclose(second[name], gradient, rtol=1e-3, atol=1e-4 * largest + 1e-7), name
    assert any(float(one.abs().max()) > 1e-4 for one in first.values()), "there is no gradient to compare"


def figures(facts: dict[str, Any], name: str) -> list[float]:
    return [row[name] for row in facts["log"] if name in row]


def alike(parts: dict[str, Any], whole: dict[str, Any], *names: str) -> None:
    """Figures of every step within a thousandth of the largest; a loss of GRPO may be 0 but for rounding."""
    for name in names:
        expected = figures(whole, name)
        assert expected, name
        largest = max(map(abs, expected))
        assert figures(parts, name) == pytest.approx(expected, rel=1e-3, abs=1e-3 * largest + 1e-6), name


def test_fine_tuning_takes_the_same_steps_in_parts_of_so_many_tokens(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        plain = Watched(patch)
        whole = fine_tuned(data, tmp_path / "whole", **TUNED)
    longest = max(width for _, width in plain.shapes)
    limit = 3 * longest
    with monkeypatch.context() as patch:
        bound = Watched(patch)
        parts = fine_tuned(data, tmp_path / "parts", micro_tokens=limit, **TUNED)
    assert all(rows * width <= limit for rows, width in bound.shapes)
    assert {rows for rows, _ in plain.shapes} == {8}
    assert len({rows for rows, _ in bound.shapes}) > 1, "the parts are not uneven"
    assert parts["steps"] == whole["steps"] == len(bound.gradients) == 3
    compared(plain, bound)
    assert figures(parts, "loss") == pytest.approx(figures(whole, "loss"), rel=1e-3)
    for name in ("entropy", "mean_token_accuracy"):
        assert figures(parts, name)[0] == pytest.approx(figures(whole, name)[0], rel=1e-3)


def test_a_sequence_beyond_the_limit_is_alone(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        bound = Watched(patch)
        fine_tuned(data, tmp_path, micro_tokens=1, **TUNED | {"epochs": 1})
    assert [rows for rows, _ in bound.shapes] == [1] * 8
    assert len(bound.gradients) == 1


@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8, dropout=0.1)])
def test_fine_tuning_in_parts_resumes_bit_for_bit(data: Any, tmp_path: Path, lora: Any) -> None:
    """With dropout too, whose random state is in the checkpoint."""
    changes: dict[str, Any] = TUNED | {"micro_tokens": 1200, "lora": lora, "batch": 4, "micro_batch": 4, "epochs": 5}
    fine_tuned(data, tmp_path / "whole", **changes)
    begun = tmp_path / "whole" / "trainer" / "checkpoint-5"  # within the third of five epochs
    fine_tuned(data, tmp_path / "resumed", resume_from=begun, **changes)
    made = [(tmp_path / name / "out" / "model.safetensors").read_bytes() for name in ("whole", "resumed")]
    assert made[0] == made[1]


@pytest.mark.parametrize(("preset", "shared"), [("paper", True), ("modern", True), ("dr_grpo", False)])
def test_optimisation_takes_the_same_steps_in_parts_of_so_many_tokens(
    data: Any, tmp_path: Path, spread: None, monkeypatch: pytest.MonkeyPatch, preset: str, shared: bool
) -> None:
    """Next to a step at once in which each completion computes its own prompt."""
    from models.training import presets

    # In so few tokens all are truncated, and the preset would mask them.
    monkeypatch.setitem(presets.PRESETS[preset].flags, "mask_truncated_completions", False)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        plain = Watched(patch)
        whole = optimised(data, tmp_path / "whole", preset=preset, shared_prefix=False, **OPTIMISED)
    with monkeypatch.context() as patch:
        bound, packed = Watched(patch), PackedShapes(patch)
        parts = optimised(
            data, tmp_path / "parts", preset=preset, micro_tokens=350, shared_prefix=shared, **OPTIMISED
        )  # fmt: skip
    held = packed.tokens if shared else [rows * width for rows, width in bound.shapes]
    assert max(held) <= 350
    assert shared == bool(packed.tokens)
    if shared:
        assert any(rows * width > 350 for rows, width in bound.shapes), "no prompt is shared"
    assert len(bound.shapes) > len(bound.gradients) == len(plain.gradients) == 1
    compared(plain, bound)
    for name in ("loss", "reward", "entropy", "kl"):
        assert figures(parts, name)[:1] == pytest.approx(figures(whole, name)[:1], rel=1e-3, abs=1e-5)
    assert figures(parts, "reward")[0] > 0


@pytest.mark.parametrize("preset", ["gspo", "cispo"])
def test_optimisation_of_several_steps_a_generation_scores_in_parts_too(
    data: Any, tmp_path: Path, spread: None, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    """Of the later steps too the losses are those without a bound, within a thousandth of the largest."""
    changes: dict[str, Any] = OPTIMISED | {"preset": preset, "prompts_per_step": 2, "micro_batch": 8}
    with monkeypatch.context() as patch:
        plain = Watched(patch)
        whole = optimised(data, tmp_path / "whole", **changes)
    with monkeypatch.context() as patch:
        bound = Watched(patch)
        parts = optimised(data, tmp_path / "parts", micro_tokens=350, **changes)
    assert len(bound.shapes) > len(bound.gradients) == len(plain.gradients) == 2
    compared(plain, bound)
    alike(parts, whole, "loss", "reward", "entropy", "grad_norm")


@pytest.mark.parametrize(
    ("what", "changes", "micro_tokens"),
    [
        ("sft", TUNED | {"micro_batch": 4, "epochs": 2}, 1200),
        ("grpo", OPTIMISED | {"micro_batch": 8, "epochs": 0.5}, 350),
    ],
)
def test_two_processes_in_parts_learn_what_one_does_at_once(
    data: Any, tmp_path: Path, spread: None, what: str, changes: dict[str, Any], micro_tokens: int
) -> None:
    """Within a thousandth: also where one process needs more parts than the other."""
    whole = learn(what, data, tmp_path / "one", changes | {"micro_batch": 2 * changes["micro_batch"]})
    parts = learn_on_two(what, data[0], tmp_path / "two", changes | {"micro_tokens": micro_tokens})
    assert parts["processes"] == 2
    alike(parts, whole, "loss", "grad_norm", *(("reward", "kl") if what == "grpo" else ()))


def test_two_processes_of_several_steps_a_generation_learn_the_same_in_parts(data: Any, tmp_path: Path) -> None:
    """Next to two processes without a bound: which rows a step takes of a generation is each process's own draw."""
    changes: dict[str, Any] = OPTIMISED | {"preset": "cispo", "prompts_per_step": 2, "micro_batch": 4, "epochs": 0.5}
    whole = learn_on_two("grpo", data[0], tmp_path / "whole", changes)
    parts = learn_on_two("grpo", data[0], tmp_path / "parts", changes | {"micro_tokens": 350})
    alike(parts, whole, "loss", "grad_norm", "reward")
