"""The one place where a generator is opened: a model in this process, or one behind an endpoint.

    open_generator("./model", LocalOptions(device="cuda", batch=32))
    open_generator("gpt-4o", EndpointOptions())

Another library for a model in this process is a further field of `LocalOptions`; a remote one has options of its
own. Training validates with the model it has in memory (models/training/grpo.py) and opens none.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from models.generation.endpoint_address import FOR_JUDGE, Endpoint
from models.generation.protocol import GeneratorIdentity, HostedGenerator, transformers_identity

if TYPE_CHECKING:
    from models.generation.endpoint import EndpointGenerator


@dataclass(frozen=True, kw_only=True)
class LocalOptions:
    """How a model runs in this process.

    `device` is `auto`, `cpu` or `cuda`. `batch` sequences are generated together at most and, with `tokens`, so many
    tokens of theirs, padding and those yet to be written included. `revision` is a hub model's.
    """

    device: str = "auto"
    dtype: str = "float32"
    attention: str = "sdpa"
    batch: int = 64
    tokens: int | None = None
    revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """Where an OpenAI-compatible endpoint is: at `base_url`, or at OPENAI_BASE_URL. The key is OPENAI_API_KEY."""

    base_url: str = ""


GeneratorOptions = LocalOptions | EndpointOptions


@overload
def open_generator(source: str | Path, options: LocalOptions) -> HostedGenerator: ...
@overload
def open_generator(source: str | Path, options: EndpointOptions) -> "EndpointGenerator": ...
@overload
def open_generator(source: str | Path, options: GeneratorOptions) -> "HostedGenerator | EndpointGenerator": ...
def open_generator(source: str | Path, options: GeneratorOptions) -> "HostedGenerator | EndpointGenerator":
    """The generator of a model directory or hub id, or of the model that an endpoint has under this name.

    Raises `ModelError` for a model that cannot be loaded, and `TeacherRefused` without the endpoint's address or key.
    """
    if isinstance(options, EndpointOptions):
        from models.generation.endpoint import EndpointGenerator

        return EndpointGenerator(find_endpoint(str(source), options))
    from models.backbone import load_model, load_processor
    from models.generation.transformers_generator import LocalGenerator

    processor = load_processor(source, revision=options.revision)
    model = load_model(
        source, dtype=options.dtype, attention=options.attention, device=options.device, revision=options.revision
    )
    model.requires_grad_(False)  # it only generates: what its vision tower makes of a medium is kept (vision_cache)
    return LocalGenerator(model, processor, batch=options.batch, micro_tokens=options.tokens)


def identify_generator(source: str | Path, options: GeneratorOptions) -> GeneratorIdentity:
    """The `identity` of what `open_generator` opens, without loading it."""
    if isinstance(options, EndpointOptions):
        from models.generation.endpoint import endpoint_identity

        return endpoint_identity(find_endpoint(str(source), options))
    return transformers_identity(options.dtype)


def find_endpoint(model: str, options: EndpointOptions) -> Endpoint:
    """The endpoint of a judge. Raises `TeacherRefused` without its address or key."""
    found = Endpoint.from_environment(model, FOR_JUDGE)
    return replace(found, base_url=options.base_url) if options.base_url else found
