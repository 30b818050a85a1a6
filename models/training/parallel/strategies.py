"""How several processes share a model, by the strategy of `runtime.distributed`: what a trainer does about it."""

from pathlib import Path
from typing import Any

from configs.schema import Distributed
from models.training.parallel.fsdp2 import check_kind, shard, sharding_arguments
from models.training.parallel.shares import share_steps

# ZeRO stage 3 by DeepSpeed's own names; the Trainer fills in what is `auto`.
ZERO_3: dict[str, Any] = {
    "bf16": {"enabled": "auto"},
    "zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True},
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
}


def strategy_arguments(distributed: Distributed) -> dict[str, Any]:
    """Trainer arguments of a strategy."""
    if distributed.strategy == "fsdp2":
        return sharding_arguments()
    return {"deepspeed": ZERO_3} if distributed.strategy == "deepspeed" else {}


def spread(trainer: Any, distributed: Distributed) -> None:
    """Ready a Trainer of fine-tuning for its strategy; with one process nothing changes."""
    share_steps(trainer)
    if distributed.strategy == "fsdp2":
        shard(trainer)


def weights_in(checkpoint: Path | None, distributed: Distributed) -> bool:
    """Whether a checkpoint to resume holds a whole model to load. Raises `ConfigError` for another strategy's."""
    if checkpoint is None:
        return False
    check_kind(checkpoint, sharded=distributed.strategy == "fsdp2")
    return distributed.strategy != "fsdp2"
