"""The processor of a rehearsal: the base model's own where it is on this machine, else the embedded one made to fit."""

from pathlib import Path
from typing import Any

from models.backbone import load_processor
from models.errors import ConfigError, ModelError

EMBEDDED = Path(__file__).parents[1] / "shapes" / "base"
ANY_SIZE = {"shortest_edge": 1024, "longest_edge": 2**26}  # pixels; media are reduced before they come here


def processor_for(base: Path | None, name: str, revision: str | None, config: Any) -> tuple[Any, bool]:
    """The processor, and whether it is the base's own.

    A folder (`base`) has to hold one; that of a hub id (`name`) is taken from the local cache, else the embedded tiny
    model's takes its place, with the architecture's patches. Raises `ConfigError` for a folder without one.
    """
    if base is not None:
        try:
            return load_processor(base), True
        except ModelError as error:
            raise ConfigError(str(error)) from error
    return (cached, True) if (cached := _cached(name, revision)) else (_embedded(config), False)


def _cached(name: str, revision: str | None) -> Any | None:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(name, revision=revision, local_files_only=True)
    except (OSError, ValueError):
        return None


def _embedded(config: Any) -> Any:
    from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    own, vision = load_processor(EMBEDDED), config.vision_config
    shape: dict[str, Any] = {
        "size": ANY_SIZE,
        "patch_size": vision.patch_size,
        "merge_size": vision.spatial_merge_size,
        "temporal_patch_size": vision.temporal_patch_size,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    kind = Qwen2VLProcessor if config.model_type.startswith("qwen2") else Qwen3VLProcessor
    return kind(
        image_processor=Qwen2VLImageProcessor(**shape),
        video_processor=Qwen3VLVideoProcessor(**shape),
        tokenizer=own.tokenizer,
        chat_template=own.chat_template,
    )
