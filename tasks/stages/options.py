"""The settings that say how a model runs on this machine, as the plain values that models/ takes."""

from configs.schema import Settings
from models.generation.open import LocalOptions


def local_options(settings: Settings, *, batch: int | None = None) -> LocalOptions:
    """How a model generates: `runtime.generation_batch` sequences together, or `batch` of them."""
    return LocalOptions(
        device=settings.runtime.device,
        dtype=settings.model.dtype,
        attention=settings.model.attention,
        batch=batch or settings.runtime.generation_batch,
        tokens=settings.runtime.generation_tokens,
    )
