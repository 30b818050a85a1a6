"""Inputs that a person names in place of the latest upstream artifacts: by digest, by path in the store, by alias."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from configs.schema import Settings
from models.errors import ArtifactUnknown, ConfigError
from tasks.pipeline.graph import STAGES, Stage
from tasks.store.artifacts import ArtifactRef, Store

MODEL_TAG = "thinkreward.model.digest"  # of a registered version: the model that it packages
REGISTRY = "models:/"


class Pins:
    """An annotation of a flow's `inputs`: its form has one optional text for each input of the stage."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checked as what it annotates; the names are checked when they are resolved."""
        return handler(source)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """One field an input."""
        inputs = STAGES[self._stage].inputs
        fields = {
            name: {
                "type": "string",
                "title": name,
                "minLength": 1,
                "description": f"{need.output} of {need.stage}: digest, kind/digest"
                + (", models:/NAME@ALIAS or an alias such as champion" if need.output == "model" else ""),
            }
            for name, need in inputs.items()
        }
        return {"type": "object", "properties": fields, "additionalProperties": False}


def resolve_pins(store: Store, settings: Settings, stage: Stage, pins: Mapping[str, str]) -> dict[str, ArtifactRef]:
    """The artifacts that the pins name. Raises `ConfigError` for an input the stage has not, or of another kind."""
    return {name: _resolve(store, settings, stage, name, text) for name, text in pins.items() if text}


def _resolve(store: Store, settings: Settings, stage: Stage, name: str, text: str) -> ArtifactRef:
    if name not in stage.inputs:
        known = ", ".join(stage.inputs) or "none"
        raise ConfigError(f"inputs.{name}: {stage.name} has no such input: choose of {known}")
    wanted = stage.inputs[name].output
    try:
        ref = find_artifact(store, settings, text) if wanted == "model" else store.resolve(text)
    except ArtifactUnknown as error:
        also = f", and it is no alias of {settings.tracking.registered_model}" if wanted == "model" else ""
        raise ConfigError(f"inputs.{name}: {error}{also}") from error
    if ref.kind != wanted:
        raise ConfigError(f"inputs.{name} is {ref.kind} {ref.short}: give an artifact of kind {wanted}")
    return ref


def find_artifact(store: Store, settings: Settings, which: str) -> ArtifactRef:
    """An artifact by its digest or that of a registered model's alias. Raises as `Store.resolve` does."""
    try:
        return store.resolve(which)
    except ArtifactUnknown:
        digest = registered_model(settings, which)
        if digest is None:
            raise
        return store.resolve(f"model/{digest}")


def registered_model(settings: Settings, name: str) -> str | None:
    """The digest of a registered model by `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a bare alias; or None."""
    from tasks.tracking.known_alias import known_alias
    from tasks.tracking.registry import versions

    uri, model = settings.tracking.uri, settings.tracking.registered_model
    version: str | None = None
    if name.startswith(REGISTRY):
        address = name.removeprefix(REGISTRY)
        model, at, alias = address.partition("@")
        if not at:
            model, _, version = address.partition("/")
    else:
        alias = name
    if version:
        found = next((one for one in versions(uri, model) if one.version == version), None)
    else:
        found = known_alias(uri, model, alias, Path(settings.storage.cache_dir))
    return found.tags.get(MODEL_TAG) if found else None
