"""Whether a training is still sound: finite numbers in every step, and groups of rollouts that differ in reward."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from transformers import TrainerCallback

from models.errors import TrainingDiverged

NO_SPREAD = "frac_reward_zero_std"  # as TRL names it
SHORTEST = 3  # steps without spread that may be called a collapse; fewer are a chance


class FiniteGuard(TrainerCallback):
    """Stops a training whose loss, gradient or weights are not finite, before that step's checkpoint is written.

    `section` is the section of the settings that the message names, such as `cold_start`.
    """

    def __init__(self, section: str, dtype: str) -> None:
        self.section = section
        self.dtype = dtype

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Raise `TrainingDiverged` if a trained weight is not finite: what is sampled or saved next would be waste."""
        if model is not None and not _all_finite(model):
            raise self._diverged("a trained weight", state.global_step, args)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Raise `TrainingDiverged` if the step's loss or gradient is not finite."""
        for name, what in (("loss", "the loss"), ("grad_norm", "the gradient")):
            value = (logs or {}).get(name)
            if value is not None and not isfinite(value):
                raise self._diverged(what, state.global_step, args)

    def _diverged(self, what: str, step: int, args: Any) -> TrainingDiverged:
        precise = "" if self.dtype == "float32" else f", or compute in float32 (model.dtype is {self.dtype})"
        return TrainingDiverged(
            f"{what} is not finite at step {step}, so training stops; the last checkpoint before it is kept. Lower "
            f"{self.section}.learning_rate ({args.learning_rate:g}) or {self.section}.max_grad_norm "
            f"({args.max_grad_norm:g}){precise}; the same settings would end here again"
        )


def _all_finite(model: Any) -> bool:
    """Whether every trained weight is finite: the largest magnitude of each tells, without a copy of it.

    Of sharded weights each process looks at its own shards.
    """
    import torch
    from torch.distributed.tensor import DTensor

    trained = [weight.detach() for weight in model.parameters() if weight.requires_grad]
    here = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in trained]
    largest = [torch.linalg.vector_norm(weight, float("inf")).float().cpu() for weight in here if weight.numel()]
    return not largest or bool(torch.stack(largest).isfinite().all())


@dataclass(frozen=True)
class NoSpread:
    """A run of steps at the end of a log in which no group differed in reward.

    `since` and `until` are its first and last step; `reward` is its mean reward, `before` that of the steps with
    spread ahead of it, and None where there was none.
    """

    since: int
    until: int
    reward: float
    before: float | None

    @property
    def steps(self) -> int:
        """How many steps it is long."""
        return self.until - self.since + 1

    @property
    def fell(self) -> bool:
        """Whether rewards are below those of the steps with spread."""
        return self.before is not None and self.reward < self.before


def no_spread(log: Sequence[Mapping[str, float]]) -> NoSpread | None:
    """The run of steps without spread at the end of a trainer's log, which has an entry for each step.

    Steps that share the generation of an earlier one have no figure of their own, and count with it.

    >>> log = [{"step": 1, NO_SPREAD: 0.5, "reward": 0.4}, {"step": 2, NO_SPREAD: 1.0, "reward": 0.0}, {"step": 3}]
    >>> no_spread(log)
    NoSpread(since=2, until=3, reward=0.0, before=0.4)
    """
    known = [row for row in log if NO_SPREAD in row and "reward" in row]
    first = next((at + 1 for at in range(len(known) - 1, -1, -1) if known[at][NO_SPREAD] < 1.0), 0)
    if first == len(known):
        return None
    flat, earlier = known[first:], known[:first]
    return NoSpread(
        since=int(flat[0]["step"]),
        until=int(max(row["step"] for row in log if "step" in row)),
        reward=sum(row["reward"] for row in flat) / len(flat),
        before=sum(row["reward"] for row in earlier) / len(earlier) if earlier else None,
    )


class SpreadGuard(TrainerCallback):
    """Ends a training early when groups have had no spread for `limit` steps; 0: never.

    It counts in the trainer's own log, which a checkpoint holds, so that a resumed run counts as an undisturbed one.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for a last checkpoint, and for the end."""
        if self.reached(state.log_history) and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def reached(self, log: Sequence[Mapping[str, float]]) -> bool:
        """Whether a log is of a run to be ended."""
        found = no_spread(log)
        return bool(self.limit) and found is not None and found.steps >= self.limit


@dataclass(frozen=True)
class Ending:
    """How a policy optimisation ended: `says` it in a sentence, empty for a healthy end."""

    says: str = ""
    collapsed_at: int | None = None


def ending(
    log: Sequence[Mapping[str, float]],
    validation: Sequence[Mapping[str, float]],
    *,
    limit: int,
    learning_rate: float,
) -> Ending:
    """What a run's log and its validation history (the start first, its last step last) say of its end.

    A collapse is a run without spread at the end, of `SHORTEST` steps or more, in which rewards fell and validation
    ends below the start; it is reported whether or not `limit` ended the training.
    """
    found = no_spread(log)
    if found is None or found.steps < SHORTEST:
        return Ending()
    if found.fell and validation[-1]["accuracy"] < validation[0]["accuracy"]:
        return Ending(_collapse(found, validation, learning_rate), found.since)
    if limit and found.steps >= limit:
        return Ending(
            f"training ended early at step {found.until}: no group of completions has differed in reward since step "
            f"{found.since} (mean {found.reward:.3f}), which leaves nothing to learn from; choose other pairs with "
            "grpo.hard, or raise grpo.group or grpo.temperature"
        )
    return Ending()


def _collapse(found: NoSpread, validation: Sequence[Mapping[str, float]], learning_rate: float) -> str:
    return (
        f"the training collapsed at step {found.since}: from there to its end at step {found.until} no group of "
        f"completions differs in reward, whose mean fell from {found.before or 0:.3f} to {found.reward:.3f}, and "
        f"validation from {validation[0]['accuracy']:.3f} to {validation[-1]['accuracy']:.3f}; lower "
        f"grpo.learning_rate ({learning_rate:g}) or grpo.max_grad_norm"
    )
