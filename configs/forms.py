"""Settings as a form: the JSON schema that a deployed flow shows, with the profile's values as the defaults.

    FORM = Form("grpo", "model", "runtime")

    def grpo(settings: Annotated[Settings, FORM] = FORM.defaults) -> ...

Prefect makes a form of a flow's signature when the flow is deployed, and its server refuses values that do not fit
before a run exists. What comes back may be a part of the form: it is laid over the active profile.
"""

from collections.abc import Mapping
from copy import copy
from functools import cached_property
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from configs.load import active_profile, load_settings
from configs.schema import Section, Settings


def complete(given: object) -> Settings:
    """Whole settings out of a part of them. Raises `SettingsError`, a `ValueError`, for what does not fit."""
    if isinstance(given, Settings):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"settings are {type(given).__name__}: give sections with their fields")
    return load_settings(active_profile(), extra=given)


class Form:
    """An annotation of a parameter that takes `Settings`: its form has these sections and the seed, and no others."""

    def __init__(self, *sections: str) -> None:
        self.sections = (*sections, "seed")

    @cached_property
    def defaults(self) -> Any:
        """The active profile's values of the form's fields, as JSON; typed as what they become."""
        return self.part(load_settings(active_profile()))

    def part(self, settings: Settings) -> dict[str, Any]:
        """The form's fields of some settings, as JSON values."""
        values = settings.model_dump(mode="json", include=set(self.sections))
        return {name: values[name] for name in self.sections}

    @cached_property
    def _shown(self) -> type[Section]:
        settings = load_settings(active_profile())
        return _with_defaults(settings, "Settings", self.sections)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Parts are completed before they are checked."""
        return core_schema.no_info_before_validator_function(complete, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The form in place of the whole schema."""
        return handler(self._shown.__pydantic_core_schema__)


def _with_defaults(section: Section, title: str, names: tuple[str, ...] | None = None) -> type[Section]:
    """A section's type whose defaults are the values of `section`, so that a form shows those."""
    fields: dict[str, Any] = {}
    for name in names or type(section).model_fields:
        known = type(section).model_fields[name]
        value, field = getattr(section, name), copy(known)
        inner = isinstance(value, Section)
        field.default, field.default_factory = value, None
        if inner:
            field.default = value.model_dump(mode="json")
        fields[name] = (_with_defaults(value, type(value).__name__) if inner else known.annotation, field)
    made: type[Section] = create_model(title, __base__=Section, __doc__=type(section).__doc__, **fields)
    return made
