"""TRL's `GRPOTrainer` as this project uses it: what its rollouts earned is passed on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl import GRPOTrainer

from models.rewards import completion_text
from models.training.checkpoints import Hooks
from models.training.health import NO_SPREAD


@dataclass
class GrpoHooks(Hooks):
    """Beside `Hooks`: `on_best(directory, step)` for a new best model, `on_completions(step, rows)` for tables."""

    on_best: Callable[[Path, int], None] = field(default=lambda directory, step: None)
    on_completions: Callable[[int, list[dict[str, Any]]], None] = field(default=lambda step, rows: None)


class CompletionsTrainer(GRPOTrainer):
    """`GRPOTrainer` that hands its completions on, and counts groups without spread under every preset.

    TRL's own table reaches neither disk nor MLflow as we need it, and with `scale_rewards=batch` its
    `frac_reward_zero_std` tells of the batch as a whole.
    """

    def __init__(self, *, hooks: GrpoHooks, completions_every: int, begun: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._hooks = hooks
        self._begun = begun  # what of each completion stands in its prompt
        self._completions_every = completions_every

    def _generate_single_turn(self, *args: Any, **more: Any) -> Any:
        """Sample in the compute type: TRL autocasts its own forward passes, but not those of `generate`.

        Around the whole call, so that float32 weights are cast once and not at every token.
        """
        with self.accelerator.autocast():
            return super()._generate_single_turn(*args, **more)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Pass the table on every N steps, then log as TRL does."""
        step = self.state.global_step
        if self._metrics["train"].get(NO_SPREAD):
            earned: Any = self._logs["rewards"]
            share = groups_without_spread(earned, self.reward_weights.tolist(), self.num_generations or 1)
            self._metrics["train"][NO_SPREAD] = [share]
        if self._logs["completion"] and step % self._completions_every == 0 and self.is_world_process_zero():
            rewards: Any = self._logs["rewards"]
            rows = [
                {
                    "completion": self._begun + completion_text(completion),
                    "advantage": advantage,
                    **{name: rewards[name][at] for name in rewards},
                }
                for at, (completion, advantage) in enumerate(
                    zip(self._logs["completion"], self._logs["advantages"], strict=True)
                )
            ]
            self._hooks.on_completions(step, rows)
        super().log(logs, start_time)


def groups_without_spread(rewards: Mapping[str, Sequence[float]], weights: Sequence[float], group: int) -> float:
    """Share of groups whose completions all earn the same: they teach nothing.

    `rewards` holds each reward's values, group by group; `weights` are in the same order of rewards.

    >>> groups_without_spread({"format": [1, 1, 1, 1], "accuracy": [0, 0, 0, 1]}, [1.0, 1.0], group=2)
    0.5
    """
    totals: list[float] = [
        sum(w * r for w, r in zip(weights, row, strict=True)) for row in zip(*rewards.values(), strict=True)
    ]
    groups = [totals[at : at + group] for at in range(0, len(totals), group)]
    return sum(max(one) - min(one) < 1e-9 for one in groups) / len(groups)
