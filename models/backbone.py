"""Loading, adapting and saving vision-language models through transformers' Auto classes."""

import copy
from pathlib import Path
from typing import Any

from models.chat_template import normalise
from models.errors import ModelError

FRAMES = "frames"  # how videos are shown in training: TRL's trainers take images alone
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


def resolve_device(device: str) -> str:
    """`auto` as `cuda` where there is a GPU and `cpu` elsewhere; anything else as it is."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def load_processor(source: str | Path, *, revision: str | None = None) -> Any:
    """The processor of a model directory or hub id, its chat template normalised (`models.chat_template`).

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
    placed: Any = model.to(resolve_device(device))  # type: ignore[arg-type]  # its decorator hides the signature
    return placed.eval()


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


def freeze_vision(model: Any) -> int:
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


def lora_config(rank: int, alpha: int, dropout: float) -> Any:
    """LoRA on every linear layer of the language model; the vision tower stays as it is."""
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        task_type="CAUSAL_LM",
        target_modules=r"^(?!.*visual).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)$",
    )


def save(model: Any, processor: Any, out: Path) -> None:
    """An ordinary model directory in safetensors; the same weights give the same bytes.

    Adapters are merged into a copy, so that a model in training stays as it is. Its configuration says that it was
    trained here, where a video is its frames as images.
    """
    merged = copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model
    merged.config.thinkreward = {"videos": FRAMES}
    merged.save_pretrained(out)
    processor.save_pretrained(out)
