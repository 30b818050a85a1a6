"""TRL's `GRPOTrainer` as this project uses it: what its rollouts earned is passed on."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from trl import GRPOTrainer
from trl.data_utils import prepare_multimodal_messages

from models.training.health import NO_SPREAD
from models.training.hooks import Hooks
from models.training.prefix.grouping import regrouped
from models.training.prefix.scoring import SharedPrefix, share_prefixes
from models.training.refill import SPREAD, Reserve, refilled
from models.training.seeded_rollouts import seeded_rollouts
from models.training.token_bound import StepPart, averaged, gathering_unlike, parts_of, unsynchronised
from models.verdict.rewards import completion_text


class CompletionsTrainer(GRPOTrainer):
    """`GRPOTrainer` that hands its completions on, and counts groups without spread under every preset.

    TRL's own table reaches neither disk nor MLflow as we need it, and with `scale_rewards=batch` its
    `frac_reward_zero_std` tells of the batch as a whole.
    """

    def __init__(
        self,
        *,
        hooks: Hooks,
        completions_every: int,
        generation_batch: int,
        generation_tokens: int | None = None,
        begun: str = "",
        shared_prefix: bool = True,
        refill: int = 0,
        reserve: Reserve | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        models = [self.accelerator.unwrap_model(self.model), *([self.ref_model] if self.ref_model is not None else [])]
        self._shares = shared_prefix and all(share_prefixes(model) for model in models)
        self._hooks = hooks
        self._refill, self._reserve = refill, reserve or Reserve()
        self._attempt = 0
        self._written: list[list[int]] = []  # completions of a generation that was sampled ahead of its scoring
        self._begun = begun  # what of each completion stands in its prompt
        self._completions_every = completions_every
        limits: dict[str, Any] = {"rows": generation_batch, "tokens": generation_tokens}
        self._together = limits | {"shared": shared_prefix}

    def _generate_single_turn(self, prompt_ids: Any, images: Any, multimodal_fields: Any, *_: Any, **__: Any) -> Any:
        """Sample each row from its own stream (`models.training.seeded_rollouts`), in the compute type.

        TRL autocasts its own forward passes, but not those of `generate`. Around all batches, so that float32 weights
        are cast once and not at every token.
        """
        if self._written:
            return self._written, None
        with self.accelerator.autocast():
            limits = self._together | {"attempt": self._attempt}
            return seeded_rollouts(self, prompt_ids, images, multimodal_fields, **limits), None

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        """With `refill`, pairs without spread are replaced first (`models.training.refill`); then all are scored."""
        if not self._refill:
            return super()._generate_and_score_completions(inputs)
        draw = f"{self.args.seed} {self.state.global_step}"
        found, self._written, counts = refilled(
            inputs, self.num_generations or 1, self._earned, self._reserve, rounds=self._refill, draw=draw
        )
        try:
            scored = super()._generate_and_score_completions(found)
        finally:
            self._written = []
        self._metrics["train"]["refill/pairs"].append(float(sum(counts[1:])))
        return scored

    def _earned(self, rows: Sequence[dict[str, Any]], attempt: int) -> tuple[list[list[int]], list[float]]:
        """Completions of these rows, and what each earns; figures of the trainer stay as they were."""
        prompts = [prepare_multimodal_messages(row["prompt"], images=row.get("images")) for row in rows]
        figures, seen = self._metrics["train"], self.state.num_input_tokens_seen
        self._metrics["train"], self._attempt = defaultdict(list), attempt
        try:
            _, tokens, _, completions, *_ = self._generate(prompts)
            rewards = self._calculate_rewards(list(rows), prompts, completions, tokens)
        finally:
            self._metrics["train"], self._attempt, self.state.num_input_tokens_seen = figures, 0, seen
        return tokens, (rewards * self.reward_weights.to(rewards.device)).sum(1).tolist()

    _buffered_inputs: Any  # of TRL, which leaves these untyped or empty at first
    model: Any
    args: Any

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """TRL's micro-batches, with a prompt's rows together where a step has several."""
        before, args, model = self._buffered_inputs, self.args, self.model
        window = args.gradient_accumulation_steps
        inputs = super()._prepare_inputs(generation_batch)
        made: Any = self._buffered_inputs
        if not self._shares or window == 1 or made is before or not model.training:
            return inputs
        self._buffered_inputs = [
            batch for at in range(0, len(made), window) for batch in regrouped(made[at : at + window])
        ]
        return self._buffered_inputs[self._step % args.steps_per_generation]

    def _get_per_token_logps_and_entropies(self, model: Any, *given: Any, **more: Any) -> Any:
        """TRL's, with each prompt computed once for its completions (`models.training.prefix`)."""
        shared = SharedPrefix(model, self.accelerator.unwrap_model(model)) if self._shares else model
        return super()._get_per_token_logps_and_entropies(shared, *given, **more)

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
    return sum(max(one) - min(one) <= SPREAD for one in groups) / len(groups)


class TokenBoundTrainer(CompletionsTrainer):
    """`CompletionsTrainer` whose batch is a whole step, computed in parts of `micro_tokens` tokens.

    A part has `micro_batch` rows at most. TRL divides a loss by the number of parts, or by the step's tokens times
    that number; each part is given the number of parts of its size that a step would have.
    """

    def __init__(self, *, micro_tokens: int, micro_batch: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._limits = micro_tokens, micro_batch

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """A part is prepared already."""
        return generation_batch if isinstance(generation_batch, StepPart) else super()._prepare_inputs(generation_batch)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """The loss of a step, from its parts."""
        begun = time.perf_counter()
        model.train()
        whole = self._prepare_inputs(inputs)
        size = len(whole["prompt_ids"])
        parts = [part for _, part in parts_of(self, whole, *self._limits, shared=self._shares)]
        before = {name: len(values) for name, values in self._metrics["train"].items()}
        losses, steps = [], self.current_gradient_accumulation_steps
        for at, part in enumerate(parts):
            share = len(part["prompt_ids"]) / size
            self.current_gradient_accumulation_steps = size / len(part["prompt_ids"])  # type: ignore[assignment]
            part["num_items_in_batch"] = part["num_items_in_batch"] * share
            with unsynchronised(self, model, at == len(parts) - 1):
                losses.append(super(GRPOTrainer, self).training_step(model, part, num_items_in_batch))
        self.current_gradient_accumulation_steps = steps
        weights = torch.stack([part["completion_mask"].sum() for part in parts])
        averaged(self._metrics["train"], before, self.accelerator.reduce(weights, reduction="sum").tolist())
        self._step += 1
        self._metrics["train"]["step_time"].append(time.perf_counter() - begun)
        return torch.stack(losses).sum()

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        """TRL gathers a figure of each row, and processes have parts of different lengths."""
        with gathering_unlike(self.accelerator):
            return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, **more: Any
    ) -> Any:
        """Without gradients, as of the reference, a whole step is asked for: in parts too."""
        score = super()._get_per_token_logps_and_entropies
        if torch.is_grad_enabled() or more.get("compute_entropy") or more.get("compute_aux_loss"):
            return score(model, input_ids, attention_mask, logits_to_keep, **more)
        more.pop("batch_size", None)
        step = {name: value for name, value in more.items() if value is not None}
        for name, value in (("ids", input_ids), ("mask", attention_mask)):
            step |= {f"prompt_{name}": value[:, :-logits_to_keep], f"completion_{name}": value[:, -logits_to_keep:]}
        logps = torch.zeros(len(input_ids), logits_to_keep, device=input_ids.device)
        for places, part in parts_of(self, step, *self._limits, shared=self._shares):
            width = part["completion_ids"].shape[1]
            ids = torch.cat([part.pop("prompt_ids"), part.pop("completion_ids")], dim=1)
            mask = torch.cat([part.pop("prompt_mask"), part.pop("completion_mask")], dim=1)
            found, _, _ = score(model, ids, mask, width, **part)
            logps[torch.tensor(places, device=logps.device), :width] = found.to(logps.dtype)
        return logps, None, None
