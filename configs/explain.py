"""Say in words what a field wants, and turn pydantic's errors into lines that name field, value, limit and fix."""

from collections.abc import Sequence
from difflib import get_close_matches
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from configs.schema import Section, Settings

SHOWN_CHARACTERS = 80
SIMILARITY = 0.7  # below it a guess misleads: gpu is not a misspelt cpu
_FAULTS = {
    "literal_error": "not one of the choices",
    "finite_number": "not finite",
    "string_too_short": "too short",
    "greater_than": "out of range",
    "greater_than_equal": "out of range",
    "less_than": "out of range",
    "less_than_equal": "out of range",
}
# Fields of earlier releases, and what to set in their place.
MOVED = {
    "runtime.processes": "set runtime.distributed.processes, and runtime.distributed.engine=torchrun (or ray) with it"
}
_BOUNDS = ("gt", "ge", "lt", "le", "min_length")
_NOUNS: dict[object, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section that this field holds, or None for a plain value.

    >>> section_of(Settings.model_fields["grpo"]).__name__
    'Grpo'
    """
    return next((kind for kind in _kinds(field) if isinstance(kind, type) and issubclass(kind, Section)), None)


def wanted(field: FieldInfo) -> str:
    """What the field takes, limits included.

    >>> wanted(Settings.model_fields["seed"])
    'a whole number from 0 to below 2147483648'
    """
    kinds = _kinds(field)
    names = [_noun(kind) for kind in kinds if kind is not NoneType]
    words = " or ".join(names) + _limit_words(_limits(field))
    return f"{words}, or null" if NoneType in kinds else words


def closest_word(word: str, known: Sequence[str]) -> str | None:
    """The known word that `word` most likely meant."""
    return next(iter(get_close_matches(word, known, n=1, cutoff=SIMILARITY)), None)


def field_at(location: Sequence[object]) -> FieldInfo | None:
    """The field of `Settings` that a path leads to, or None if there is none."""
    section: type[Section] | None = Settings
    field: FieldInfo | None = None
    for name in location:
        field = section.model_fields.get(str(name)) if section else None
        section = section_of(field) if field else None
    return field


def explain(details: ErrorDetails) -> str:
    """One line for one of pydantic's errors: field, value, limit, fix."""
    location = details["loc"]
    path = ".".join(map(str, location))
    value = shorten(details["input"])
    field = field_at(location)
    if details["type"] == "extra_forbidden" or details["type"] == "invalid_key":
        return unknown_field(path)
    if details["type"] == "value_error":
        reason = str(details["ctx"]["error"])
        return f"{path}: {reason}" if path else reason
    if field is None:
        return f"{path or 'settings'}: {value} is refused: {details['msg']}"
    inner = section_of(field)
    if inner is not None:
        return f"{path}: {value} is not a section: set its fields, for instance {path}.{next(iter(inner.model_fields))}"
    fault = _FAULTS.get(details["type"], "of the wrong type")
    fix = f"give {wanted(field)}"
    if isinstance(details["input"], str) and (guess := closest_word(details["input"], _choices(field))):
        fix = f"did you mean {guess}? {fix[0].upper()}{fix[1:]}"
    return f"{path}: {value} is {fault}: {fix} (default {default_of(field)}; {field.description})"


def unknown_field(path: str) -> str:
    """The line for a path that leads to no field: the closest one, or the fields that there are."""
    if path in MOVED:
        return f"{path}: this field has moved: {MOVED[path]}"
    *parents, name = path.split(".")
    if parents and (parent := field_at(parents)) is not None and section_of(parent) is None:
        return f"{path}: unknown field: {'.'.join(parents)} takes {wanted(parent)} and has no fields of its own"
    known = all_paths()
    here = [each for each in known if each.split(".")[:-1] == parents]
    guess = closest_word(name, [each.split(".")[-1] for each in here])
    if guess:
        return f"{path}: unknown field: did you mean {'.'.join([*parents, guess])}?"
    if other_sections := [each for each in known if each.split(".")[-1] == name]:
        return f"{path}: unknown field: did you mean {' or '.join(other_sections)}?"
    fields = ", ".join(each.split(".")[-1] for each in here)
    return f"{path}: unknown field: {'.'.join(parents) or 'a profile'} has {fields}"


def all_paths(section: type[Section] = Settings, prefix: str = "") -> list[str]:
    """Dotted paths of all sections and fields, in the schema's order."""
    paths: list[str] = []
    for name, field in section.model_fields.items():
        paths.append(prefix + name)
        if inner := section_of(field):
            paths += all_paths(inner, f"{prefix}{name}.")
    return paths


def default_of(field: FieldInfo) -> str:
    """The default as YAML writes it.

    >>> default_of(Settings.model_fields["seed"])
    '0'
    """
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "null"
    return str(default).lower() if isinstance(default, bool) else str(default)


def shorten(value: object) -> str:
    """The value as it was read, cut if it is long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def _kinds(field: FieldInfo) -> tuple[Any, ...]:
    """The types in the field's union, or its one type."""
    annotation = field.annotation
    return (annotation,) if get_origin(annotation) in (Literal, list) else get_args(annotation) or (annotation,)


def _choices(field: FieldInfo) -> list[str]:
    return [str(choice) for kind in _kinds(field) if get_origin(kind) is Literal for choice in get_args(kind)]


def _noun(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is list:
        return "a list, each with " + ", ".join(get_args(kind)[0].model_fields)
    return _NOUNS.get(kind, "a section")


def _limits(field: FieldInfo) -> dict[str, Any]:
    """The field's bounds by the names of `annotated_types`: gt, ge, lt, le, min_length."""
    bounds = ((name, getattr(part, name, None)) for part in field.metadata for name in _BOUNDS)
    return {name: bound for name, bound in bounds if bound is not None}


def _limit_words(limits: dict[str, Any]) -> str:
    """How the limits continue a noun: ' from 0 to 1', ' above 0', ' of at least 1 character'."""
    if "min_length" in limits:
        return f" of at least {limits['min_length']} character"
    low = f" from {limits['ge']:g}" if "ge" in limits else f" above {limits['gt']:g}" if "gt" in limits else ""
    if "le" in limits:
        return f"{low}{' to' if 'ge' in limits else ' up to'} {limits['le']:g}"
    if "lt" in limits:
        return f"{low}{' to' if 'ge' in limits else ' and'} below {limits['lt']:.0f}"
    return f" of at least {limits['ge']:g}" if "ge" in limits else low
