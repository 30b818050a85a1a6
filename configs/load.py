"""Load a profile: YAML over the schema's defaults, the environment, then `section.field=value`, checked as one.

    settings = load_settings("shapes", ["grpo.learning_rate=2e-5", "cold_start.lora.rank=16"])

The environment holds what is of this machine rather than of the method: THINKREWARD__STORAGE__ROOT=s3://bucket/prefix
is storage.root, and THINKREWARD_PROFILE names the profile where none is given. Everything wrong is found before
anything runs and reported at once, one line per problem: the field, its value, the limit, the fix and where it was set.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from configs.explain import closest_word, default_of, explain, section_of, unknown_field, wanted
from configs.schema import Section, Settings
from configs.yaml_core import YamlProblem, parse

FOLDER = Path(__file__).resolve().parent
DEFAULT_PROFILE = "shapes"
VARIABLE = "THINKREWARD__"  # the way pydantic-settings nests: THINKREWARD__SECTION__FIELD
CREDENTIALS = re.compile(r"://[^@/\s]*@")
_ABSENT = object()


class SettingsError(ValueError):
    """A profile, a field or a value is refused; `problems` holds one line for each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class FieldDescription(NamedTuple):
    """One row of the settings' reference; `type` gives the limits in words, `default` is as YAML writes it."""

    path: str
    type: str
    default: str
    description: str


class _Layer(NamedTuple):
    """Settings from one place, over those of the layers before."""

    tree: dict[str, object]
    origin: str


def profiles() -> list[str]:
    """Names of the profiles that come with Thinkreward, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def active_profile() -> str:
    """The profile of this environment: THINKREWARD_PROFILE, else the embedded default."""
    return os.environ.get("THINKREWARD_PROFILE") or DEFAULT_PROFILE


def load_settings(
    profile: str, overrides: Sequence[str] = (), *, extra: Mapping[str, object] | None = None
) -> Settings:
    """Defaults, then the profile, the environment, `extra` and `overrides`, each over those before.

    Args:
        profile: a name out of `profiles()`, or the path of a YAML file.
        overrides: `section.field=value` each, the value read as YAML; later ones win.
        extra: nested fields from a caller rather than a person, such as a flow's parameters.

    Raises:
        SettingsError: anything unknown, contradictory, out of range or unreadable.
    """
    path = _find(profile)
    layers = [_Layer({"profile": path.stem, **_read(path)}, _short(path))]
    problems: list[str] = []
    given = [(f"{field}={value}", name) for name, field, value in _environment()]
    for override, origin in given:
        _add(layers, override, origin, problems)
    layers.append(_Layer(dict(extra or {}), "the caller"))
    for override in overrides:
        _add(layers, override, f"--set {CREDENTIALS.sub('://***@', override)}", problems)
    tree: dict[str, object] = {}
    for layer in layers:
        tree = _merged(tree, layer.tree)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        found = (f"{explain(d)} [{_origin(d['loc'], layers)}]" for d in error.errors(include_url=False))
        raise SettingsError(*problems, *found) from None
    if problems:
        raise SettingsError(*problems)
    return settings


def describe() -> list[FieldDescription]:
    """Every field of every section in the schema's order, for documentation."""
    return list(_describe(Settings, ""))


def _describe(section: type[Section], prefix: str) -> Iterator[FieldDescription]:
    for name, field in section.model_fields.items():
        inner = section_of(field)
        if inner is None or field.default is None:  # an optional section is a choice of its own
            yield FieldDescription(prefix + name, wanted(field), default_of(field), field.description or "")
        if inner is not None:
            yield from _describe(inner, f"{prefix}{name}.")


def _find(profile: str) -> Path:
    """The file of a profile, by name or by path."""
    if profile in profiles():
        return FOLDER / f"{profile}.yaml"
    path = Path(profile)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if path.is_file():
            return path
        raise SettingsError(f"profile {profile!r}: no such file; known profiles: {', '.join(profiles())}")
    guess = closest_word(profile, profiles())
    hint = f"did you mean {guess}? It" if guess else "it"
    raise SettingsError(
        f"profile {profile!r} is unknown: {hint} is one of {', '.join(profiles())}, or the path of a .yaml file"
    )


def _read(path: Path) -> dict[str, object]:
    """The fields a profile states."""
    try:
        document = parse(path.read_text(encoding="utf-8"))
    except YamlProblem as problem:
        where = f"{_short(path)}, line {problem.line}" if problem.line else _short(path)
        raise SettingsError(f"{where}: {problem.reason}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{_short(path)}: byte {error.start} is not UTF-8: save the file as UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{_short(path)}: cannot be read: {error.strerror}") from None
    return _fields(document, _short(path))


def _fields(document: object, where: str) -> dict[str, object]:
    if document is None:
        return {}
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise SettingsError(f"{where}: holds a {kind}, not fields: write `section:` and below it `  field: value`")
    if strangers := [key for key in document if not isinstance(key, str)]:
        raise SettingsError(f"{where}: key {strangers[0]!r} is not a name: write the name of a section")
    return document


def _environment() -> Iterator[tuple[str, str, str]]:
    """(variable, dotted field, value) of every setting in the environment."""
    for name in sorted(os.environ):
        if name.startswith(VARIABLE):
            yield name, name.removeprefix(VARIABLE).lower().replace("__", "."), os.environ[name]


def _add(layers: list[_Layer], override: str, origin: str, problems: list[str]) -> None:
    try:
        layers.append(_Layer(_parse_override(override, origin), origin))
    except SettingsError as error:
        problems += error.problems


def _parse_override(override: str, origin: str) -> dict[str, object]:
    """`grpo.group=8` as `{"grpo": {"group": 8}}`."""
    dotted, equals, text = override.partition("=")
    names = [name.strip() for name in dotted.split(".")]
    if not equals or not all(names):
        raise SettingsError(f"{origin!r} is malformed: write section.field=value, such as grpo.group=8")
    path = ".".join(names)
    if unknown := _unknown(names):
        raise SettingsError(f"{unknown} [{origin}]")
    try:
        value = parse(text)
    except YamlProblem as problem:
        raise SettingsError(f"{path}: {text!r} cannot be read: {problem.reason} [{origin}]") from None
    tree: dict[str, object] = {names[-1]: value}
    for name in reversed(names[:-1]):
        tree = {name: tree}
    return tree


def _unknown(names: Sequence[str]) -> str | None:
    """The line that refuses a path leading to no field, or None."""
    section: type[Section] | None = Settings
    for name in names:
        if section is None or name not in section.model_fields:
            return unknown_field(".".join(names))
        section = section_of(section.model_fields[name])
    return None


def _merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """`above` over `below`, section by section; a section over null or a value replaces it."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[name] = _merged(under, value) if both else value  # type: ignore[arg-type]
    return merged


def _origin(location: Sequence[object], layers: Sequence[_Layer]) -> str:
    """Where the value at `location` was set last; a contradiction of a section belongs to who touched it last."""
    for layer in reversed(layers):
        node: object = layer.tree
        for name in location:
            fields = {str(key): value for key, value in node.items()} if isinstance(node, Mapping) else {}
            node = fields.get(str(name), _ABSENT)
        if node is not _ABSENT:
            return layer.origin
    return "default"


def _short(path: Path) -> str:
    """The path as a person writes it, relative to the working directory if it is below."""
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)
