"""How a stage's model generates on this machine: the settings as the plain values that models/ takes."""

from typing import TYPE_CHECKING

from configs.schema import Settings
from models.generation.open import LocalOptions, open_generator
from models.judging.judge import Judge

if TYPE_CHECKING:
    from tasks.stages.context import Context


def local_options(settings: Settings, *, batch: int | None = None) -> LocalOptions:
    """How a model generates: `runtime.generation_batch` sequences together, or `batch` of them."""
    return LocalOptions(
        device=settings.runtime.device,
        dtype=settings.model.dtype,
        attention=settings.model.attention,
        batch=batch or settings.runtime.generation_batch,
        tokens=settings.runtime.generation_tokens,
    )


def load_judge(context: "Context", model_input: str) -> Judge:
    """A judge over one of the stage's input models, with the dataset's media."""
    generator = open_generator(context.input(model_input), local_options(context.settings))
    return Judge(generator, context.preferences().frames)
