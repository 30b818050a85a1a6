"""How a stage's model generates on this machine: the settings as the plain values that models/ takes."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from configs.schema import Settings
from models.generation.open import EndpointOptions, LocalOptions, identify_generator, open_generator
from models.generation.protocol import Generator, GeneratorIdentity, HostedGenerator
from models.judging.judge import Judge

if TYPE_CHECKING:
    from models.generation.endpoint import EndpointGenerator
    from tasks.stages.context import Context

ENDPOINT = "endpoint:"  # before the name of a model behind an OpenAI-compatible server
EMBEDDED = "embedded"  # the embedded teacher without its faults


def local_options(settings: Settings, *, batch: int | None = None) -> LocalOptions:
    """How a model generates: `runtime.generation_batch` sequences together, or `batch` of them."""
    return LocalOptions(
        device=settings.runtime.device,
        dtype=settings.model.dtype,
        attention=settings.model.attention,
        batch=batch or settings.runtime.generation_batch,
        tokens=settings.runtime.generation_tokens,
    )


def open_named(
    name: str, settings: Settings, folder_of: Callable[[str], Path], *, base_url: str = ""
) -> "HostedGenerator | EndpointGenerator":
    """What writes the text of a model by its name: behind an endpoint (`endpoint:MODEL`), or in `folder_of(name)`."""
    if name.startswith(ENDPOINT):
        return open_generator(name.removeprefix(ENDPOINT), EndpointOptions(base_url=base_url))
    return open_generator(folder_of(name), local_options(settings))


def identity_of(name: str, settings: Settings) -> GeneratorIdentity:
    """The identity of what `open_named` gives, before it is loaded."""
    if name.startswith(ENDPOINT):
        return identify_generator(name.removeprefix(ENDPOINT), EndpointOptions())
    return identify_generator(name, local_options(settings))


def load_judge(context: "Context", model_input: str) -> Judge:
    """A judge over one of the stage's input models, with the dataset's media."""
    generator = open_generator(context.input(model_input), local_options(context.settings))
    return Judge(generator, context.preferences().frames)


def load_oracle(context: "Context") -> Judge:
    """A judge over what `evaluate.oracle` names, with the dataset's media. It is shown what the models are shown."""
    return Judge(_oracle(context), context.preferences().frames)


def _oracle(context: "Context") -> Generator:
    name = context.settings.oracle
    if name == EMBEDDED:
        from models.shapes.oracle import EmbeddedOracle

        return EmbeddedOracle()
    store = context.store
    return open_named(name, context.settings, lambda digest: store.fetch(store.resolve(f"model/{digest}")))


def identify_oracle(settings: Settings) -> GeneratorIdentity:
    """The identity of what `load_oracle` asks, without loading it."""
    name = settings.oracle
    if name == EMBEDDED:
        from models.shapes.oracle import IDENTITY

        return IDENTITY
    return identity_of(name, settings)
