"""Fields of a published row: the text, number, label or medium that each should hold, and why one does not fit.

Each accessor raises `RowError` with the reason; `valid_rows` and `expanded` turn that into an `InvalidRow`, so that a
reader describes its layout alone. `row` is one object of a listing, `where` its place (`train.json#12`).
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from models.sources.rows import InFile, InRow, InvalidRow, Medium, Row, suffix_of

Fields = Mapping[str, Any]
Label = TypeVar("Label")
SHOWN = 40  # characters of a wrong value that a reason repeats
_CAPTION = "Text Caption:"


class RowError(Exception):
    """This row gives no pair, and why: `row: prompt is missing`. Never leaves a reader."""


def valid_rows(
    rows: Iterable[tuple[str, Any]], make: Callable[[str, dict[str, Any]], Row | InvalidRow]
) -> Iterator[Row | InvalidRow]:
    """What `make(where, row)` gives for each row; one that is no object, or raises `RowError`, is an `InvalidRow`."""
    return expanded(rows, lambda where, row: (make(where, row),))


def expanded(
    rows: Iterable[tuple[str, Any]], make: Callable[[str, dict[str, Any]], Iterable[Row | InvalidRow]]
) -> Iterator[Row | InvalidRow]:
    """The same for layouts with several pairs in one row: `make` may yield any number, then raise `RowError`."""
    for where, row in rows:
        if isinstance(row, InvalidRow):
            yield row
        elif not isinstance(row, dict):
            yield InvalidRow(where, "", f"row: is no object but of type {type(row).__name__}")
        else:
            try:
                yield from make(where, row)
            except RowError as error:
                yield InvalidRow(where, given_id(row), str(error))


def given_id(row: Fields) -> str:
    """The row's published id, a text or a whole number, or nothing."""
    found = row.get("id", row.get("pair_id"))
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found.encode(errors="replace").decode() if isinstance(found, str) else ""


def present(row: Fields, name: str) -> Any:
    """The value of a field that must be there; JSON's null and an empty cell of Parquet count as missing."""
    value = row.get(name)
    if value is None:
        raise RowError(f"row: {name} is missing")
    return value


def text(row: Fields, name: str) -> str:
    """A text that is not blank, as it is written."""
    return as_text(present(row, name), name)


def as_text(value: object, name: str) -> str:
    """The same of a value that stands in no field of its own; `name` is what the reason calls it."""
    if not isinstance(value, str):
        raise RowError(f"row: {name} is no text but of type {type(value).__name__}")
    if not value.strip():
        raise RowError(f"row: {name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can write half of a surrogate pair
        raise RowError(f"row: {name} holds half a character: {error.reason}") from error
    return value


def label(row: Fields, name: str, labels: Mapping[str, Label]) -> Label:
    """What one of the known labels stands for."""
    value = text(row, name).strip()
    if value not in labels:
        raise RowError(f"row: {name} is {value[:SHOWN]!r}, none of {', '.join(labels)}")
    return labels[value]


def number(row: Fields, name: str) -> float:
    """A finite number; JSON's true and false are none."""
    return as_number(present(row, name), name)


def as_number(value: object, name: str) -> float:
    """The same of a value that stands in no field of its own."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowError(f"row: {name} is no number but of type {type(value).__name__}")
    try:
        finite = math.isfinite(value)
    except OverflowError as error:  # JSON can write a whole number beyond any float
        raise RowError(f"row: {name} is too large a number") from error
    if not finite:
        raise RowError(f"row: {name} is {value}, no finite number")
    return value


def several(row: Fields, name: str) -> list[Any]:
    """The values of a list, which may be none."""
    value = present(row, name)
    if not isinstance(value, list):
        raise RowError(f"row: {name} is no list but of type {type(value).__name__}")
    return value


def two(row: Fields, name: str) -> tuple[Any, Any]:
    """The two values of a list of two."""
    values = several(row, name)
    if len(values) != 2:
        raise RowError(f"row: {name} is no list of two but {len(values)} values")
    return values[0], values[1]


def medium(value: object, name: str, where: str) -> Medium:
    """An image or video as the hub's Parquet keeps it (`{"bytes": …, "path": …}`), or named by its path."""
    if value is None:
        raise RowError(f"row: {name} is missing")
    if not isinstance(value, dict):
        return InFile(as_text(value, name))
    path, data = value.get("path"), value.get("bytes")
    if data is None:  # the hub's form for a file beside the listing
        return medium(path, name, where)
    if not isinstance(data, bytes):
        raise RowError(f"row: {name} holds no bytes but {type(data).__name__}")
    if not data:
        raise RowError(f"row: {name} is empty")
    return InRow(f"{where}/{name}{suffix_of(str(path or ''))}", data)


def below(root: Path, found: Medium, folder: str) -> Medium:
    """A medium whose listing leaves out the folder that holds it: named with the folder where that file is there."""
    if not isinstance(found, InFile) or os.path.isfile(root / found.path):
        return found
    inside = f"{folder}/{found.path}"
    return InFile(inside) if os.path.isfile(root / inside) else found


def different(first: Medium, second: Medium) -> tuple[Medium, Medium]:
    """Both candidates, which must not be one and the same: no label could be true of them."""
    same = first.data == second.data if isinstance(first, InRow) and isinstance(second, InRow) else first == second
    if same:
        raise RowError("row: both candidates are the same")
    return first, second


def asked_and_answered(row: Fields) -> tuple[str, str]:
    """The question and answer of a conversation as LLaVA and UnifiedReward write it: one `human` turn, one `gpt` turn.

    `{"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}]}`
    """
    turns = [turn for turn in several(row, "conversations") if isinstance(turn, dict)]
    asked, answered = ([turn for turn in turns if turn.get("from") == who] for who in ("human", "gpt"))
    if len(asked) != 1 or len(answered) != 1:
        raise RowError(
            f"row: conversations hold {len(asked)} human and {len(answered)} gpt turns, expected one of each"
        )
    return as_text(asked[0].get("value"), "the question"), as_text(answered[0].get("value"), "the answer")


def caption(asked: str) -> str:
    """The caption in a question of UnifiedReward's about generated media, which ends `Text Caption: [a red kite]`."""
    _, marker, found = asked.partition(_CAPTION)
    if not marker:
        raise RowError(f"row: the question holds no {_CAPTION!r}")
    found = found.strip()
    return as_text(found[1:-1] if found.startswith("[") and found.endswith("]") else found, "the caption")


def question(published: str) -> str:
    """A question without the placeholder at its start or end that marks where a model's template puts the medium."""
    bare = published.strip()
    for placeholder in ("<image>", "<video>"):
        bare = bare.removeprefix(placeholder).removesuffix(placeholder).strip()
    if not bare:
        raise RowError("row: the question is empty but for its placeholder")
    return bare
