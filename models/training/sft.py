"""Supervised fine-tuning on verdicts with TRL: the one door to `SFTTrainer`.

Follows the paper's cold start (arXiv 2505.03318, section 3.2): loss on the completion only, vision tower
frozen. Departs in nothing but size; the same code trains the tiny model and an 8-GPU one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.schema import Sft
from models.backbone import load_for_training, load_processor, lora_config, lora_targets, resolve_device, save
from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import PreferencePair
from models.training.checkpoints import HookCallback, accumulated, training_arguments
from models.training.compute import Compute
from models.training.health import FiniteGuard
from models.training.hooks import Hooks
from models.training.parallel.fsdp2 import whole_model
from models.training.parallel.strategies import spread, strategy_arguments, weights_in
from models.training.rows import training_rows
from models.verdict.grammar import Mode, answer_text


def train_sft(
    source: str | Path,
    pairs: Sequence[PreferencePair],
    completions: Sequence[str],
    media: PreferenceDataset,
    out: Path,
    *,
    sft: Sft,
    section: str,
    compute: Compute,
    scratch: Path,
    direct: Sequence[PreferencePair] = (),
    resume_from: Path | None = None,
    hooks: Hooks | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Fine-tune the model at `source` and write the result to `out`; returns steps, losses and the log by step.

    With LoRA, `lora_layers` says beside them how many layers have adapters.

    `pairs` are asked to think and answered by `completions`; `direct` pairs are asked for the answer alone, which is
    their label.
    `section` is the dotted name of `sft` in the settings, for messages. `sft.batch` counts completions over all
    processes. With `runtime.micro_tokens` a device handles so many tokens at once at most, padding included, and
    `sft.micro_batch` completions.
    `resume_from` is a checkpoint directory of the same settings and data: training goes on from its
    weights, optimizer, schedule, random state and data position.

    Raises `TrainingDiverged` at the first step whose numbers are not finite, before it is saved.
    """
    from peft import get_peft_model

    from models.training.fine_tuning.trainer import StepwiseSft

    # The weights come from the checkpoint itself: the Trainer's own non-strict reload loses those of
    # full Qwen2.5-VL models, whose saved names differ from their module names (DESIGN, platform facts).
    distributed = compute.runtime.distributed
    full_resume = weights_in(resume_from, distributed) and sft.lora is None
    processor = load_processor(source, revision=revision)

    def load(place: str | Path, at: str | None) -> Any:
        return load_for_training(
            place,
            dtype=compute.model.dtype,
            attention=compute.model.attention,
            freeze_vision=sft.freeze_vision,
            lora=sft.lora,
            revision=at,
        )

    model = load(resume_from, None) if full_resume and resume_from else load(source, revision)
    adapters = {"lora_layers": len(lora_targets(model))} if sft.lora else {}
    modes: list[Mode] = [*["think"] * len(pairs), *["direct"] * len(direct)]  # type: ignore[list-item]
    answers = [answer_text(pair.task, pair.preferred) for pair in direct]
    trainer = StepwiseSft(
        model=model,
        args=_arguments(sft, compute, scratch),
        rows=training_rows([*pairs, *direct], media, [*completions, *answers], modes, processor),
        micro_tokens=compute.runtime.micro_tokens,
        micro_batch=sft.micro_batch,
        sharded=distributed.strategy != "ddp",
        processing_class=processor,
        peft_config=lora_config(model, sft.lora) if sft.lora else None,
        callbacks=[FiniteGuard(section, compute.model.dtype), HookCallback(hooks or Hooks())],
    )
    spread(trainer, distributed)
    result = trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)

    def fresh() -> Any:
        made = load(source, revision)
        return get_peft_model(made, lora_config(made, sft.lora)) if sft.lora else made

    if (whole := whole_model(trainer, fresh)) is not None:
        save(whole, processor, out, dtype=compute.model.publish_dtype)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    log = trainer.state.log_history
    return {"steps": result.global_step, "first_loss": losses[0], "final_loss": losses[-1], "log": log, **adapters}


def _arguments(sft: Sft, compute: Compute, scratch: Path) -> Any:
    from accelerate import PartialState
    from trl import SFTConfig

    device = resolve_device(compute.runtime.device)
    processes = PartialState(cpu=device == "cpu").num_processes
    steps = accumulated(sft.batch, sft.micro_batch, processes)
    return SFTConfig(
        output_dir=str(scratch),
        num_train_epochs=sft.epochs,
        learning_rate=sft.learning_rate,
        lr_scheduler_type=sft.schedule,
        warmup_steps=sft.warmup,  # below 1: a share of the steps
        weight_decay=sft.weight_decay,
        max_grad_norm=sft.max_grad_norm,
        # The trainer's batch is that of a step, which it divides itself (models/training/fine_tuning/trainer.py).
        per_device_train_batch_size=sft.micro_batch * steps,
        gradient_accumulation_steps=1,
        gradient_checkpointing=compute.runtime.gradient_checkpointing,
        save_steps=sft.checkpoint_every,
        max_length=None,  # truncation would cut image tokens
        completion_only_loss=True,
        packing=False,
        seed=compute.seed,
        data_seed=compute.seed,
        **training_arguments(device, compute.model.dtype),
        **strategy_arguments(compute.runtime.distributed),
    )
