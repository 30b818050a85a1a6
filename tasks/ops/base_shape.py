"""The base model's configuration and shape, without a download."""

import json
from typing import Any

from configs.schema import Settings
from models.errors import ConfigError
from models.sizing.shape import ModelShape, shape_of
from tasks.pipeline.graph import find_base


def base_config(settings: Settings) -> dict[str, Any] | None:
    """The contents of the base's `config.json`; None where it is not on this machine.

    Raises `ConfigError` for a file that is no JSON object.
    """
    folder = find_base(settings)
    if folder is None:
        from models.rehearsal.known import hub_config

        return hub_config(settings.model.base, settings.model.revision)
    file = folder / "config.json"
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError(f"{file} is no JSON ({error}): copy it from the model again") from error
    return found if isinstance(found, dict) else None


def base_shape(settings: Settings) -> ModelShape | None:
    """The base's shape; None where it is unknown here, or for a family whose layers are not known here."""
    described = base_config(settings)
    return None if described is None else shape_of(described)
