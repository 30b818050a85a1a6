"""Group-relative policy optimisation with TRL; `models.training.rollouts` has its trainer.

The objectives and their sources are in `models.training.presets`. Departs from all of them in what it publishes: the
checkpoint that is best on validation pairs, or the start.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from trl import GRPOConfig

from configs.schema import Grpo
from models.backbone import load_for_training, load_processor, lora_config, lora_targets, resolve_device, save
from models.errors import ConfigError, DataError
from models.generation.protocol import SamplingParams
from models.generation.tokens import placeholder_tokens
from models.generation.transformers_generator import LocalGenerator
from models.judging.judge import Judge
from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import PreferencePair
from models.training.checkpoints import HookCallback, accumulated, training_arguments
from models.training.compute import Compute
from models.training.curriculum import HISTORY, best_of
from models.training.health import FiniteGuard, SpreadGuard
from models.training.hooks import Hooks
from models.training.prefix.attention import attending_alone
from models.training.presets import NOT_SHARDED, flags, needs_format
from models.training.refill import Reserve
from models.training.rollouts import CompletionsTrainer, TokenBoundTrainer
from models.training.rows import training_rows
from models.verdict.chat_template import opening
from models.verdict.rewards import REWARDS, opened, reward_functions

ALWAYS_LOGGED = ("format", "accuracy", "consistency")


class Validator(TrainerCallback):
    """Judges the validation pairs at every validated checkpoint, and keeps the best model.

    Of several processes each measures its share and all know the accuracy; the first alone saves and reports.
    """

    def __init__(
        self,
        judge_of: Callable[[Any], float],
        save_in: Callable[[Any, Path], None],
        every: int,
        scratch: Path,
        hooks: Hooks,
    ) -> None:
        self.accuracy_of = judge_of
        self.save_in = save_in
        self.every = every
        self.best_directory = scratch / "best"
        self.hooks = hooks
        self.history: list[dict[str, float]] = []

    @property
    def best(self) -> dict[str, float]:
        """The entry that is published."""
        return best_of(self.history)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Measure the start, once."""
        if not self.history:
            self._measure(0, model, first=state.is_world_process_zero)

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Measure a checkpoint, and leave the history in it for a run that takes it up."""
        last = control.should_training_stop or state.global_step == state.max_steps
        if last or state.global_step % self.every == 0:
            self._measure(state.global_step, model, first=state.is_world_process_zero)
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (checkpoint / HISTORY).write_text(json.dumps(self.history))

    def _measure(self, step: int, model: Any, *, first: bool) -> None:
        accuracy = self.accuracy_of(model)
        better = bool(self.history) and accuracy > self.best["accuracy"]
        self.history.append({"step": float(step), "accuracy": accuracy})
        if first:
            self.hooks.on_metrics(step, {"validation/accuracy": accuracy})
        if better and first:
            self.save_in(model, self.best_directory)
            self.hooks.on_best(self.best_directory, step)


def train_grpo(
    source: Path,
    pairs: Sequence[PreferencePair],
    validation: Sequence[PreferencePair],
    media: PreferenceDataset,
    *,
    grpo: Grpo,
    compute: Compute,
    scratch: Path,
    resume_from: Path | None = None,
    hooks: Hooks | None = None,
    reserve: Sequence[PreferencePair] = (),
) -> dict[str, Any]:
    """Optimise the model at `source`; returns the validation history and the best step.

    With `grpo.refill` pairs without spread are replaced by those of `reserve`, or without any by others of `pairs`.

    Best step 0 means that no checkpoint beat the start. Otherwise the best model is in `scratch/best`,
    unless it was found before `resume_from`, when the caller kept it through `on_best`.

    After `grpo.no_spread_steps` steps in a row without spread in any group it ends early and is validated once more.
    With `runtime.micro_tokens` a device handles so many tokens at once at most, padding included, and with
    `runtime.generation_tokens` so many while it samples and validates.

    Raises `TrainingDiverged` at the first step whose numbers are not finite, before it is saved.
    """
    hooks, runtime = hooks or Hooks(), compute.runtime
    processor = load_processor(source)
    if runtime.distributed.strategy != "ddp":
        raise ConfigError(NOT_SHARDED.format(runtime.distributed.strategy))
    full_resume = resume_from is not None and grpo.lora is None
    model = load_for_training(
        resume_from if full_resume and resume_from else source,
        dtype=compute.model.dtype,
        attention=compute.model.attention,
        freeze_vision=grpo.freeze_vision,
        lora=grpo.lora,
    )
    # Where TRL finds the reference model, also when resuming.
    model.config._name_or_path = str(source)  # noqa: SLF001
    adapters = {"lora_layers": len(lora_targets(model))} if grpo.lora else {}

    def accuracy_of(current: Any) -> float:
        current.eval()
        judge = Judge(
            LocalGenerator(current, processor, batch=runtime.generation_batch, micro_tokens=runtime.generation_tokens),
            media.frames,
        )
        accelerator = trainer.accelerator
        mine = validation[accelerator.process_index :: accelerator.num_processes]  # each of several judges a share
        with accelerator.autocast(), attending_alone(current):
            # Right answers are counted, which no malformed text is.
            how = SamplingParams(max_tokens=grpo.max_tokens, stop_malformed=True)
            judged = judge.judge(mine, "think", how, both_orders=True)
        current.train()
        counts = torch.tensor([sum(one.correct for one in judged), len(judged)], device=accelerator.device)
        right, count = accelerator.reduce(counts, reduction="sum").tolist()
        return float(right / max(1, count))

    def keep(current: Any, folder: Path) -> None:
        save(current, processor, folder, dtype=compute.model.publish_dtype)

    validator = Validator(accuracy_of, keep, grpo.validate_every, scratch, hooks)
    if resume_from is not None:
        validator.history = json.loads((resume_from / HISTORY).read_text())
    spread = SpreadGuard(grpo.no_spread_steps)
    both_orders = [order for pair in pairs for order in (pair, pair.swapped())]
    begun = opening(processor, "think")
    generation = grpo.prompts_per_step * grpo.generation_steps
    if len(both_orders) < generation > grpo.prompts_per_step:
        raise DataError(
            f"{len(pairs)} pairs in both orders are fewer prompts than the {generation} of one generation under "
            f"grpo.preset={grpo.preset}: lower grpo.prompts_per_step, or choose a preset of one step a generation"
        )
    # The paper's are logged even with a weight of 0.
    weights = grpo.rewards.model_dump(include=set(REWARDS))
    weights = {name: weight for name, weight in weights.items() if weight or name in ALWAYS_LOGGED}
    gated = needs_format(grpo.preset, grpo.rewards.accuracy_needs_format)
    rewards = reward_functions(weights, accuracy_needs_format=gated)
    bound: dict[str, Any] = {"micro_tokens": runtime.micro_tokens, "micro_batch": grpo.micro_batch}
    trainer = (partial(TokenBoundTrainer, **bound) if runtime.micro_tokens else CompletionsTrainer)(
        hooks=hooks,
        begun=begun,
        generation_batch=runtime.generation_batch,
        generation_tokens=runtime.generation_tokens,
        shared_prefix=runtime.shared_prefix,
        completions_every=grpo.completions_every,
        refill=grpo.refill,
        reserve=_reserve(reserve or pairs, media),
        model=model,
        reward_funcs=[opened(reward, begun) for reward in rewards],
        args=_arguments(grpo, compute, scratch, list(weights.values()), placeholder_tokens(model, processor)),
        train_dataset=training_rows(both_orders, media),
        processing_class=_left_padding(load_processor(source)),
        peft_config=lora_config(model, grpo.lora) if grpo.lora else None,
        callbacks=[FiniteGuard("grpo", compute.model.dtype), spread, validator, HookCallback(hooks)],
    )
    log = logged(resume_from) if resume_from else []
    if not spread.reached(log):  # else the training ended with this checkpoint
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        log = trainer.state.log_history
    return {"validation": validator.history, "best": validator.best, "log": log, "adapters": adapters}


def logged(checkpoint: Path) -> list[dict[str, float]]:
    """The figures by step up to a checkpoint."""
    entries: list[dict[str, float]] = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return entries


def _reserve(pairs: Sequence[PreferencePair], media: PreferenceDataset) -> Reserve:
    by_id = {pair.id: pair for pair in pairs}
    return Reserve(tuple(by_id), lambda one: list(training_rows([by_id[one], by_id[one].swapped()], media)))


def _left_padding(processor: Any) -> Any:
    """The processor as TRL's GRPO needs it, beside one that is saved as it was.

    TRL pads prompts on the left by itself, but the token types that say which of them are image tokens as the
    processor does: on the other side they would be those of other tokens, in silence while no image is cut.
    """
    processor.tokenizer.padding_side = "left"
    return processor


def _arguments(grpo: Grpo, compute: Compute, scratch: Path, weights: list[float], never: list[int]) -> GRPOConfig:
    from accelerate import PartialState

    device = resolve_device(compute.runtime.device)
    processes = PartialState(cpu=device == "cpu").num_processes
    completions = grpo.group * grpo.prompts_per_step
    if grpo.refill and processes > 1:
        raise ConfigError(
            f"grpo.refill={grpo.refill} samples further prompts in one process, and there are {processes}: "
            "set runtime.distributed.engine=none for it, or grpo.refill=0 with grpo.hard=contested"
        )
    if grpo.rewards.orders and (grpo.prompts_per_step * grpo.generation_steps // processes) % 2:
        raise ConfigError(
            f"{processes} processes part the two orders of a pair, of {grpo.prompts_per_step} prompts a step, which "
            f"grpo.rewards.orders compares: choose a grpo.prompts_per_step that {2 * processes} divides, or orders=0"
        )
    steps, whole = accumulated(completions, grpo.micro_batch, processes), bool(compute.runtime.micro_tokens)
    return GRPOConfig(
        output_dir=str(scratch),
        num_train_epochs=grpo.epochs,
        learning_rate=grpo.learning_rate,
        # TRL's "constant" warms nothing up.
        lr_scheduler_type="constant_with_warmup" if grpo.schedule == "constant" and grpo.warmup else grpo.schedule,
        warmup_steps=grpo.warmup,  # below 1: a share of the steps
        # Bounded by tokens, the trainer's batch is that of a step (models/training/token_bound.py).
        per_device_train_batch_size=grpo.micro_batch * (steps if whole else 1),
        gradient_accumulation_steps=1 if whole else steps,
        steps_per_generation=(1 if whole else steps) * grpo.generation_steps,
        num_iterations=grpo.generation_passes,
        num_generations=grpo.group,
        max_completion_length=grpo.max_tokens,
        # Of the reference model, which TRL would load in the type of the model's first weight.
        model_init_kwargs=None if grpo.lora else {"dtype": compute.model.dtype},
        cache_implementation="static",  # as in `models.generation.transformers_generator`
        max_grad_norm=grpo.max_grad_norm,
        temperature=grpo.temperature,
        generation_kwargs={"suppress_tokens": never}
        if never
        else None,  # TRL's own list has the image's alone; it knows all ends
        reward_weights=weights,
        gradient_checkpointing=compute.runtime.gradient_checkpointing,
        save_steps=grpo.checkpoint_every,
        shuffle_dataset=False,  # both orders of a pair stay in one batch; the curriculum has shuffled the pairs
        seed=compute.seed,
        data_seed=compute.seed,
        **flags(grpo),
        **training_arguments(device, compute.model.dtype),
    )
