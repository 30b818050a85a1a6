"""Loading, adapting and saving vision-language models through transformers' Auto classes.

Precision in training: weights that are trained are float32, so that a step far smaller than the weight still counts;
frozen ones are in the compute type, in which the forward pass is autocast. What is published is rounded once.
"""

import copy
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.adapters import without_adapters
from models.errors import ModelError
from models.verdict.chat_template import normalise
from models.vision_tower import quicken_vision

if TYPE_CHECKING:  # a registered model carries this file, and no settings
    from configs.schema import Lora

log = logging.getLogger(__name__)
MASTER = "float32"  # the type of weights that are trained
FRAMES = "frames"  # how videos are shown in training: TRL's trainers take images alone
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


def resolve_device(device: str) -> str:
    """`auto` as `cuda` where there is a GPU and `cpu` otherwise; anything else as it is."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def load_processor(source: str | Path, *, revision: str | None = None) -> Any:
    """The processor of a model directory or hub id, its chat template normalised (`models.verdict.chat_template`).

    Raises `ModelError` if a directory has none.
    """
    from transformers import AutoProcessor

    if Path(source).is_dir() and not any((Path(source) / name).is_file() for name in PROCESSOR_FILES):
        raise ModelError(
            f"{source} has no processor ({' or '.join(PROCESSOR_FILES)}): "
            "copy the processor files of the model it was trained from beside the weights"
        )
    try:
        processor = AutoProcessor.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(f"no processor can be loaded from {source}: {error}") from error
    return normalise(processor)


def load_model(
    source: str | Path,
    *,
    dtype: str = "float32",
    attention: str = "sdpa",
    device: str = "cpu",
    revision: str | None = None,
) -> Any:
    """An image-text-to-text model in evaluation mode. Raises `ModelError` with the place and the reason."""
    import torch
    from transformers import AutoModelForImageTextToText

    try:
        model = AutoModelForImageTextToText.from_pretrained(
            source, dtype=getattr(torch, dtype), attn_implementation=attention, revision=revision
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"no model can be loaded from {source}: {error}") from error
    quicken_vision(model)
    placed: Any = model.to(resolve_device(device))  # type: ignore[arg-type]  # its decorator hides the signature
    return placed.eval()


def load_for_training(
    source: str | Path,
    *,
    dtype: str,
    attention: str,
    freeze_vision: bool,
    lora: "Lora | None",
    revision: str | None = None,
) -> Any:
    """A model whose weights are to be trained, in the compute type `dtype`.

    Without `lora` all weights are float32, but those of a frozen vision tower are in `dtype`. With it the whole
    model is in `dtype`: PEFT freezes it and makes the adapters float32. Raises `ModelError` for a type that cannot be
    trained in, and as `load_model` does.
    """
    if refused := untrainable(dtype):
        raise ModelError(refused)
    model = load_model(source, dtype=dtype if lora else MASTER, attention=attention, revision=revision)
    if freeze_vision and not lora:
        _freeze_vision(model)
        keep_frozen_in(model, dtype)
    if dtype != MASTER:
        _keep_cache_in(model, dtype)
    return model.train()


def untrainable(dtype: str) -> str:
    """Why nothing is trained in this compute type; empty for those that training takes."""
    if dtype != "float16":
        return ""
    return (
        "model.dtype is float16, which is for inference alone: it ends at 65504 and its small gradients vanish below "
        "6e-8, so that training needs its loss scaled, which is not done here: set model.dtype=bfloat16, which has "
        "the range of float32, or model.dtype=float32"
    )


def keep_frozen_in(model: Any, dtype: str) -> None:
    """Put the weights that are not trained into the compute type; buffers stay as they are."""
    import torch

    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(getattr(torch, dtype))


def _keep_cache_in(model: Any, dtype: str) -> None:
    """Have `generate` keep keys and values in the compute type.

    Under autocast float32 weights make keys of float32 (rotated beside the float32 residual stream) and values of the
    compute type, and transformers' static cache takes but one type (5.23). Attention casts both as is done here.
    """
    import torch

    made, kept = model._prepare_static_cache, getattr(torch, dtype)  # noqa: SLF001

    def prepare(*args: Any, **more: Any) -> Any:
        cache = made(*args, **more)
        update = cache.update

        def updated(keys: Any, values: Any, *rest: Any, **options: Any) -> Any:
            return update(keys.to(kept), values.to(kept), *rest, **options)

        cache.update = updated
        return cache

    model._prepare_static_cache = prepare  # noqa: SLF001


def takes_video(source: str | Path, *, revision: str | None = None) -> bool:
    """Whether a model is to be given videos as such: its processor takes them, and it was not trained here, on frames.

    Raises `ModelError` as loading it does.
    """
    from transformers import AutoConfig

    processor = load_processor(source, revision=revision)
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(f"no model can be loaded from {source}: {error}") from error
    return getattr(processor, "video_processor", None) is not None and _trained_on(config) != FRAMES


def _trained_on(config: Any) -> str:
    """How videos were shown in training, where `save` wrote it down."""
    return str((getattr(config, "thinkreward", None) or {}).get("videos", ""))


def is_vision(name: str) -> bool:
    """Whether a parameter belongs to the vision tower, by its name in transformers' Qwen-VL classes."""
    return name.startswith("visual.") or ".visual." in name


def _freeze_vision(model: Any) -> int:
    """Stop the vision tower's gradients; returns how many parameters that froze.

    Raises `ModelError` if the model has no parameter of that name, since then nothing would be frozen.
    """
    frozen = 0
    for name, parameter in model.named_parameters():
        if is_vision(name):
            parameter.requires_grad_(False)
            frozen += parameter.numel()
    if not frozen:
        raise ModelError("freeze_vision is set but the model has no `visual` parameters: set freeze_vision=false")
    return frozen


def lora_targets(model: Any) -> list[str]:
    """The names of every linear layer of the language model, whatever its family calls them.

    That is each `nn.Linear` outside the vision tower but for the output embeddings. Raises `ModelError` if there is
    none, since then nothing would be trained.
    """
    from torch import nn

    head = model.get_output_embeddings()
    found = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and not is_vision(name)
    ]
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no linear layer outside its vision tower and its head, so LoRA would train "
            "nothing: leave lora out to train all weights"
        )
    return found


def lora_config(model: Any, lora: "Lora") -> Any:
    """LoRA on every linear layer of the language model; the vision tower stays as it is."""
    from peft import LoraConfig

    targets = lora_targets(model)
    kinds = sorted({name.rpartition(".")[2] for name in targets})
    log.info("LoRA of rank %d on %d linear layers (%s)", lora.rank, len(targets), ", ".join(kinds))
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        task_type="CAUSAL_LM",
        # As one pattern: PEFT writes a list into the adapter's configuration in an order that differs by process.
        target_modules="|".join(re.escape(name) for name in targets),
    )


def save(model: Any, processor: Any, out: Path, *, dtype: str = MASTER) -> None:
    """An ordinary model directory in safetensors with weights of `dtype`; the same weights give the same bytes.

    Adapters are merged in float32 and every weight is rounded once, beside the model, which stays as it is: a model in
    training is saved so. Its configuration records that it was trained here, where a video is its frames as images.
    Raises `ModelError` if a weight is beyond the range of `dtype`.
    """
    base = without_adapters(model)
    base.save_pretrained(out, state_dict=merged_weights(base, dtype))
    config = copy.deepcopy(base.config)
    config.thinkreward = {"videos": FRAMES}
    for one in (config, *(getattr(config, name) for name in config.sub_configs)):
        one.dtype = dtype
    config.save_pretrained(out)
    processor.save_pretrained(out)


def merged_weights(base: Any, dtype: str) -> dict[str, Any]:
    """The weights of a model by their names without adapters, on the CPU; adapters are merged in float32.

    One layer at a time, so that a device needs no second copy of the model. Tied weights stay one tensor.
    """
    import torch

    adapted: dict[str, Callable[[str], Any]] = {
        name: module.get_delta_weight for name, module in base.named_modules() if hasattr(module, "get_delta_weight")
    }
    rounded: dict[tuple[int, torch.Size], Any] = {}
    state = {}
    for name, tensor in base.state_dict().items():
        owner, wrapped, leaf = name.rpartition(".base_layer.")
        if ".lora_" in name:
            continue
        one = (tensor.data_ptr(), tensor.shape)
        if one not in rounded:
            exact = tensor
            if wrapped and leaf == "weight":
                exact = tensor.float() + adapted[owner]("default").detach().float()
            rounded[one] = _rounded(exact, dtype, name)
        state[f"{owner}.{leaf}" if wrapped else name] = rounded[one]
    return state


def _rounded(tensor: Any, dtype: str, name: str) -> Any:
    import torch

    if not tensor.is_floating_point():
        return tensor.cpu()
    value = tensor.to(getattr(torch, dtype))
    if dtype == "float16" and not torch.isfinite(value).all():
        raise ModelError(
            f"{name} has values up to {tensor.abs().max().item():g}, and float16 ends at 65504: "
            "set model.publish_dtype=bfloat16"
        )
    return value.cpu()
