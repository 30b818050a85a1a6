"""What both trainers share: where checkpoints go, what is logged, and how a run is resumed."""

from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback

from models.errors import ConfigError
from models.training.hooks import Hooks


class HookCallback(TrainerCallback):
    """Passes a Hugging Face Trainer's events to `Hooks`."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Numbers of a step, without the totals a Trainer adds at the end."""
        if not state.is_world_process_zero:
            return
        numbers = {
            k: float(v) for k, v in (logs or {}).items() if isinstance(v, int | float) and not k.startswith("train_")
        }
        if numbers:
            self.hooks.on_metrics(state.global_step, numbers)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Progress in optimizer steps."""
        if state.is_world_process_zero:
            self.hooks.on_progress(state.global_step, state.max_steps)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A checkpoint directory is complete once every process has written its part."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            self.hooks.on_checkpoint(Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step)


def training_arguments(device: str, dtype: str) -> dict[str, Any]:
    """Trainer arguments that follow from the machine and the compute type, in which the forward pass is autocast."""
    return {
        "use_cpu": device == "cpu",
        "bf16": dtype == "bfloat16",
        "fp16": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device != "cpu",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "remove_unused_columns": False,
    }


def accumulated(batch: int, micro_batch: int, processes: int) -> int:
    """Forward passes of an optimizer step on each process.

    Raises `ConfigError` for a batch that cannot be divided: a rounded one would be another batch than was asked for.

    >>> accumulated(128, 8, 4)
    4
    """
    steps, rest = divmod(batch, micro_batch * processes)
    if rest or not steps:
        raise ConfigError(
            f"{batch} completions a step cannot be divided among {processes} processes of {micro_batch} at once: "
            "choose a micro_batch that, times the processes of runtime.distributed, divides the batch"
        )
    return steps
