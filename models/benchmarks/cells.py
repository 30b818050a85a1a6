"""Cells of a benchmark's published rows: the text, label or medium that each should hold, and why one is unfit.

Each function raises `Unfit` with the reason; `usable` turns that into the `Unusable` of its row.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from models.sources.rows import InFile, InRow, Medium, Row, Unusable

Cells = Mapping[str, Any]
Label = TypeVar("Label")
SHOWN = 40  # characters of a wrong value that a reason repeats


class Unfit(Exception):
    """A row gives no pair, and why; never leaves a reader."""


def usable(
    rows: Iterable[tuple[str, Any]], make: Callable[[str, dict[str, Any]], Row | Unusable]
) -> Iterator[Row | Unusable]:
    """What `make(where, cells)` gives for each row; a row that is no object, or that it finds unfit, is `Unusable`."""
    for where, row in rows:
        if isinstance(row, Unusable):
            yield row
        elif not isinstance(row, dict):
            yield Unusable(where, "", f"row: is no object but of type {type(row).__name__}")
        else:
            try:
                yield make(where, row)
            except Unfit as error:
                yield Unusable(where, given_id(row), str(error))


def given_id(row: Cells) -> str:
    """The row's published id, or nothing."""
    found = row.get("id", row.get("pair_id"))
    return found.encode(errors="replace").decode() if isinstance(found, str) else ""


def text(row: Cells, name: str) -> str:
    """A text that says something."""
    value = row.get(name)
    if value is None:
        raise Unfit(f"row: {name} is missing")
    return as_text(value, name)


def as_text(value: object, name: str) -> str:
    """The same of a value that stands in no cell of its own; `name` is what the reason calls it."""
    if not isinstance(value, str):
        raise Unfit(f"row: {name} is no text but of type {type(value).__name__}")
    if not value.strip():
        raise Unfit(f"row: {name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can write half of a surrogate pair
        raise Unfit(f"row: {name} holds half a character: {error.reason}") from error
    return value


def label(row: Cells, name: str, labels: Mapping[str, Label]) -> Label:
    """What one of the known labels stands for."""
    said = text(row, name).strip()
    if said not in labels:
        raise Unfit(f"row: {name} is {said[:SHOWN]!r}, none of {', '.join(labels)}")
    return labels[said]


def two(row: Cells, name: str) -> tuple[Any, Any]:
    """The two values of a list of two."""
    value = row.get(name)
    if not isinstance(value, list) or len(value) != 2:
        found = f"{len(value)} values" if isinstance(value, list) else f"of type {type(value).__name__}"
        raise Unfit(f"row: {name} is no list of two but {found}")
    return value[0], value[1]


def question(published: str) -> str:
    """A question without the placeholder at its start or end that marks where a model's template puts the medium."""
    bare = published.strip()
    for placeholder in ("<image>", "<video>"):
        bare = bare.removeprefix(placeholder).removesuffix(placeholder).strip()
    if not bare:
        raise Unfit("row: the question is empty but for its placeholder")
    return bare


def medium(value: object, name: str, where: str) -> Medium:
    """An image or video as the hub's Parquet keeps it (`{"bytes": …, "path": …}`), or named by its path."""
    if not isinstance(value, dict):
        if value is None:
            raise Unfit(f"row: {name} is missing")
        return InFile(as_text(value, name))
    path, data = value.get("path"), value.get("bytes")
    if not isinstance(data, bytes):
        return medium(path, name, where)
    if not data:
        raise Unfit(f"row: {name} is empty")
    return InRow(f"{where}/{name}{PurePosixPath(str(path or '')).suffix}", data)


def below(root: Path, found: Medium, folder: str) -> Medium:
    """A medium whose listing leaves out the folder that holds it: named with the folder where that file is there."""
    if not isinstance(found, InFile) or os.path.isfile(root / found.path):
        return found
    inside = f"{folder}/{found.path}"
    return InFile(inside) if os.path.isfile(root / inside) else found
