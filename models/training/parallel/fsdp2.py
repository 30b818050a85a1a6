"""FSDP2: weights, gradients and the optimizer's state are sharded over the processes, on GPUs and on CPUs.

accelerate 1.15 shards where there are accelerators alone: on CPUs it takes the settings and trains with DDP. Here its
state is told so there too, and a training whose weights are not sharded is refused. The Trainer's own checkpoints fail
on uneven shards (a vocabulary of 855 rows on 2 processes), so they are made here: each process writes its shard of what
is trained, and as many processes as there are then read their own.
"""

from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from transformers import TrainerCallback

from models.errors import ConfigError, ModelError

SHARDS = "shards"  # the folder of a checkpoint that holds them


def sharding_arguments() -> dict[str, Any]:
    """Trainer arguments for FSDP2: each decoder and vision block is a unit that is gathered when it computes."""
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": True,
            "state_dict_type": "SHARDED_STATE_DICT",
        },
    }


def shard(trainer: Any) -> None:
    """Have a Trainer shard its model when it starts, compute in the model's type, and keep sharded checkpoints.

    Raises `ConfigError` for a single process, which would shard nothing.
    """
    accelerator = trainer.accelerator
    if accelerator.num_processes == 1:
        raise ConfigError("strategy fsdp2 shares a model among processes, and there is one: set strategy=ddp")
    _tell_accelerate(trainer)
    # Weights are gathered in the type of the masters and the forward pass is autocast, as with DDP.
    trainer.compute_loss_context_manager = accelerator.autocast
    trainer.save_model = lambda *_, **__: None  # the whole model is saved at the end (`whole_model`)
    trainer._save_optimizer_and_scheduler = MethodType(_save, trainer)  # noqa: SLF001
    trainer._load_optimizer_and_scheduler = MethodType(_load, trainer)  # noqa: SLF001
    trainer._load_from_checkpoint = lambda *_, **__: None  # noqa: SLF001  (`_load` has the weights too)
    trainer.add_callback(ShardedGuard())


def _tell_accelerate(trainer: Any) -> None:
    from accelerate import DistributedType
    from accelerate.utils import FullyShardedDataParallelPlugin

    state = trainer.accelerator.state
    if state.distributed_type is not DistributedType.FSDP:
        state.distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
    state.fsdp_plugin.mixed_precision_policy = None
    trainer.is_fsdp_enabled = True


class ShardedGuard(TrainerCallback):
    """Refuses a training whose weights are whole on every process."""

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Raise `ConfigError` unless every trained weight is sharded."""
        whole = [name for name, one in model.named_parameters() if one.requires_grad and not is_sharded(one)]
        if whole:
            raise ConfigError(
                f"strategy fsdp2 leaves {len(whole)} trained weights whole on every process ({whole[0]} first): this "
                "release of accelerate does not shard here; set runtime.distributed.strategy=ddp"
            )


def is_sharded(weight: Any) -> bool:
    """Whether this process has but a part of a weight."""
    from torch.distributed.tensor import DTensor

    return isinstance(weight, DTensor)


def has_shards(checkpoint: Path) -> bool:
    """Whether a checkpoint is of a sharded training."""
    return (checkpoint / SHARDS).is_dir()


def check_kind(checkpoint: Path, *, sharded: bool) -> None:
    """Raises `ConfigError` for a checkpoint of the other kind of training."""
    if has_shards(checkpoint) != sharded:
        made, now = ("fsdp2", "ddp") if has_shards(checkpoint) else ("ddp", "fsdp2")
        raise ConfigError(
            f"{checkpoint.name} was made with runtime.distributed.strategy={made} and cannot be resumed with {now}: "
            f"set it to {made}, or start again with --refresh"
        )


def whole_model(trainer: Any, fresh: Callable[[], Any]) -> Any:
    """The model that is to be saved, on the first process, and None on the others; to be called on all of them.

    Of a sharded one the weights are gathered on the CPU, into a model that `fresh` makes; by DeepSpeed's own gathering
    in its compute type.
    """
    if trainer.is_deepspeed_enabled:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        return _filled(fresh(), weights) if trainer.is_world_process_zero() else None
    model = trainer.accelerator.unwrap_model(trainer.model)
    if not any(is_sharded(one) for one in model.parameters()):
        return model if trainer.is_world_process_zero() else None
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return _filled(fresh(), weights) if trainer.is_world_process_zero() else None


def _filled(made: Any, weights: dict[str, Any]) -> Any:
    """A model with these weights. Raises `ModelError` for weights that it does not have, or that are not there."""
    missing, unknown = made.load_state_dict(weights, strict=False)
    named = dict(made.named_parameters(remove_duplicate=False))
    loaded = {id(one) for name, one in named.items() if name in weights}  # a tied weight has two names
    if lost := [*unknown, *(name for name in missing if id(named.get(name)) not in loaded)]:
        raise ModelError(f"the gathered weights do not fit the model: {', '.join(lost[:3])} of {len(lost)}")
    return made


def _states(trainer: Any) -> dict[str, Any]:
    """What is trained and the optimizer's state of it, as shards of whole tensors."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    model, state = get_state_dict(trainer.model, optimizer, options=StateDictOptions(ignore_frozen_params=True))
    return {"model": model, "optimizer": state}


def _save(trainer: Any, folder: str) -> None:
    from torch.distributed.checkpoint import state_dict_saver

    Path(folder).mkdir(parents=True, exist_ok=True)
    state_dict_saver.save(_states(trainer), checkpoint_id=str(Path(folder) / SHARDS))
    if trainer.is_world_process_zero():
        torch.save(trainer.lr_scheduler.state_dict(), Path(folder) / "scheduler.pt")


def _load(trainer: Any, checkpoint: str | None) -> None:
    from torch.distributed.checkpoint import state_dict_loader
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    if checkpoint is None:
        return
    states = _states(trainer)
    state_dict_loader.load(states, checkpoint_id=str(Path(checkpoint) / SHARDS))
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    set_state_dict(
        trainer.model,
        optimizer,
        model_state_dict=states["model"],
        optim_state_dict=states["optimizer"],
        options=StateDictOptions(ignore_frozen_params=True, strict=False),
    )
    trainer.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))
