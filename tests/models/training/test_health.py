"""Training that cannot go on says so: numbers that are not finite, groups without spread, a collapse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.schema import Model, Runtime, Sft
from models.errors import TrainingDiverged
from models.training.health import NO_SPREAD, NoSpread, ending, no_spread
from models.training.hooks import Hooks
from tests.models.training.test_precision import BASE, data, optimised, spread

__all__ = ["data", "spread"]  # fixtures


def log_of(*shares_and_rewards: tuple[float, float]) -> list[dict[str, float]]:
    return [{"step": at + 1, NO_SPREAD: s, "reward": r} for at, (s, r) in enumerate(shares_and_rewards)]


HEALTHY, DEAD = (0.4, 0.8), (1.0, 0.0)
FELL = [{"step": 0, "accuracy": 0.7}, {"step": 9, "accuracy": 0.0}]
STAYED = [{"step": 0, "accuracy": 0.7}, {"step": 9, "accuracy": 0.7}]


def ended(*steps: tuple[float, float], validation: Any = FELL, limit: int = 5) -> Any:
    return ending(log_of(*steps), validation, limit=limit, learning_rate=0.5)


def test_a_run_without_spread_is_counted_from_its_first_step_to_the_last() -> None:
    assert no_spread(log_of(HEALTHY, DEAD, HEALTHY)) is None
    assert no_spread([]) is None
    assert no_spread(log_of(DEAD, HEALTHY, DEAD, DEAD)) == NoSpread(3, 4, 0.0, 0.4)
    shared = [*log_of(HEALTHY, DEAD), {"step": 3}, {"step": 4}]  # of the second step's generation
    found = no_spread(shared)
    assert found is not None
    assert found.steps == 3


def test_a_collapse_names_its_step_and_what_to_lower() -> None:
    told = ended(HEALTHY, *[DEAD] * 5)
    assert told.collapsed_at == 2
    for words in ("collapsed at step 2", "0.800 to 0.000", "0.700 to 0.000", "grpo.learning_rate (0.5)"):
        assert words in told.says
    assert "no checkpoint beat the start" not in told.says


def test_a_collapse_is_told_without_a_limit_too() -> None:
    assert ended(HEALTHY, *[DEAD] * 3, limit=0).collapsed_at == 2


@pytest.mark.parametrize("steps", [[HEALTHY] * 9, [HEALTHY, HEALTHY, DEAD, DEAD], [DEAD] * 8 + [HEALTHY]])
def test_a_healthy_end_says_nothing(steps: list[tuple[float, float]]) -> None:
    assert ended(*steps).says == ""


@pytest.mark.parametrize(
    ("steps", "validation"),
    [([HEALTHY, *[(1.0, 1.0)] * 5], FELL), ([DEAD] * 6, FELL), ([HEALTHY, *[DEAD] * 5], STAYED)],
)
def test_no_spread_is_no_collapse_where_nothing_was_lost(steps: list[tuple[float, float]], validation: Any) -> None:
    told = ended(*steps, validation=validation)
    assert told.collapsed_at is None
    assert "ended early at step 6" in told.says
    assert "grpo.hard" in told.says
    assert ended(*steps, validation=validation, limit=7).says == ""


def tuned(data: Any, folder: Path, rate: float = 1e-4, **changes: Any) -> dict[str, Any]:
    """Ten steps, a checkpoint every other, and the hooks of `changes`."""
    from models.training.compute import Compute
    from models.training.sft import train_sft

    media, pairs, texts = data
    sft = Sft(epochs=10, schedule="constant", warmup=0.0, batch=8, micro_batch=4, checkpoint_every=2)
    sft = sft.model_copy(update={"learning_rate": rate})  # beyond what the settings take
    how: Any = {"section": "rejection_sampling.sft", "compute": Compute(0, Model(), Runtime(device="cpu"))}
    return train_sft(BASE, pairs, texts, media, folder / "out", sft=sft, **how, scratch=folder / "trainer", **changes)


def spoiled(patch: pytest.MonkeyPatch, at: int, spoil: Callable[[Any], Any]) -> None:
    """From step `at` on the loss is spoiled."""
    from trl import SFTTrainer

    compute = SFTTrainer.compute_loss

    def wrong(trainer: Any, *args: Any, **more: Any) -> Any:
        loss = compute(trainer, *args, **more)
        return spoil(loss) if trainer.state.global_step + 1 >= at else loss

    patch.setattr(SFTTrainer, "compute_loss", wrong)


def steep(loss: Any) -> Any:
    """The same loss, whose gradient is infinite."""
    return loss + (loss - loss.detach()).sqrt()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("spoil", "what"), [(lambda loss: loss * float("nan"), "the loss"), (steep, "the gradient")])
def test_fine_tuning_stops_at_the_first_step_that_is_not_finite_and_keeps_the_checkpoint_before(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Any], Any], what: str
) -> None:
    kept: list[int] = []
    spoiled(monkeypatch, 4, spoil)
    with pytest.raises(TrainingDiverged) as raised:
        tuned(data, tmp_path, hooks=Hooks(on_checkpoint=lambda folder, step: kept.append(step)))
    assert kept == [2]
    assert not raised.value.retryable
    said = str(raised.value)
    assert any(f"{one} is not finite at step 4" in said for one in (what, "a trained weight"))
    assert "rejection_sampling.sft.learning_rate (0.0001)" in said
    assert "rejection_sampling.sft.max_grad_norm (1)" in said
    monkeypatch.undo()
    assert tuned(data, tmp_path, resume_from=tmp_path / "trainer" / "checkpoint-2")["steps"] == 10


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_weights_that_overflow_are_never_saved(data: Any, tmp_path: Path) -> None:
    """Loss and gradient of the first step are finite, and its checkpoint would hold infinities."""
    with pytest.raises(TrainingDiverged, match="a trained weight is not finite at step 1"):
        tuned(data, tmp_path, rate=1e39)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_optimisation_names_its_own_settings_and_type(data: Any, tmp_path: Path, spread: None) -> None:
    with pytest.raises(TrainingDiverged, match=r"step 1.*grpo\.learning_rate \(1e\+39\).*model\.dtype is bfloat16"):
        optimised(data, tmp_path, learning_rate=1e39)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_optimisation_ends_early_without_spread_and_resumes_to_the_same_end(
    data: Any, tmp_path: Path, spread: None
) -> None:
    """At learning rate 1 every completion is the same from the second step on."""
    changes = {"learning_rate": 1.0, "dtype": "float32", "epochs": 4.0, "no_spread_steps": 3}
    changes |= {"checkpoint_every": 2, "validate_every": 16}
    result = optimised(data, tmp_path, **changes)
    found = no_spread(result["log"])
    assert found is not None
    assert found.steps == 3
    assert found.until < 16
    assert [entry["step"] for entry in result["validation"]] == [0, found.until]
    last = tmp_path / f"checkpoint-{found.until}"
    again = optimised(data, tmp_path / "resumed", resume_from=last, **changes)
    assert again["validation"] == result["validation"]
    assert no_spread(again["log"]) == found
