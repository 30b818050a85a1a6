"""Our own pair format, read and written: one JSON object per line of `pairs.jsonl`, beside the media that it names.

    {"id": "a1", "task": "image_generation", "prompt": "a red kite", "preferred": 1,
     "candidates": [{"media": "kite-1.png"}, {"media": "kite-2.png"}]}
    {"id": "b7", "task": "image_understanding", "prompt": "What flies here?", "preferred": "tie",
     "context": ["kite-1.png"], "candidates": [{"text": "a dog"}, {"text": "a kite"}]}

`preferred` is 1, 2 or "tie". `context`, `group` and `source` (who made the pair) may be missing or null. Any other
field is refused by name, so that a misspelt `context` is not lost. Whether a medium is there and can be decoded is for
those to find out who open it: folders of pairs and submissions (models/sources/jsonl.py), imports
(models/sources/importing.py). The same fields in Parquet are models/sources/own.py, in tar shards
models/sources/webdataset.py.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.pairs.preference import Candidate, Media, PreferencePair, Preferred, Task
from models.sources.fields import SHOWN, Fields, RowError, as_text, medium, present, text, two, valid_rows
from models.sources.listings import numbered_lines
from models.sources.rows import InvalidRow, Medium, Row

LISTING = "pairs.jsonl"
FIELDS = tuple(PreferencePair.model_fields)
LABELS: dict[object, Preferred] = {1: 1, 2: 2, "1": 1, "2": 2, "tie": "tie"}
_CANDIDATE = ("text", "media")
_MEDIUM = ("bytes", "path")


def read_pairs(listing: Path) -> Iterator[tuple[int, Row | InvalidRow]]:
    """The pairs of a listing, each with its line, counted from 1 as an editor counts; an invalid one has its reason.

    Empty lines are passed over. A row's `where` counts the others: `pairs.jsonl#3` is the third that holds something.
    """
    for number, (line, value) in enumerate(numbered_lines(listing), start=1):
        where = f"{listing.name}#{number}"
        given = InvalidRow(where, "", value.reason) if isinstance(value, InvalidRow) else value
        yield line, next(valid_rows([(where, given)], _of_json))


def write_pair(pair: PreferencePair, name: Callable[[Media], str] = lambda media: media.uri) -> str:
    """A pair as one line of a listing, which `read_pairs` reads; `name` is the file of a medium."""
    return json.dumps(fields_of(pair, name), ensure_ascii=False) + "\n"


def fields_of(pair: PreferencePair, name: Callable[[Media], str] = lambda media: media.uri) -> dict[str, Any]:
    """The JSON object of a pair."""
    candidates = [{"text": one.text} if one.media is None else {"media": name(one.media)} for one in pair.candidates]
    row: dict[str, Any] = {
        "id": pair.id,
        "task": str(pair.task),
        "prompt": pair.prompt,
        "preferred": pair.preferred,
        "group": pair.group,
        "source": pair.source,
        "candidates": candidates,
    }
    return row | ({"context": [name(media) for media in pair.context]} if pair.context else {})


def _of_json(where: str, row: dict[str, Any]) -> Row:
    if row.get("preferred") in ("1", "2"):
        check_fields(row)
        raise RowError(f"row: preferred is the text {row['preferred']!r}: write the number")
    return row_of(where, row)


def row_of(where: str, row: Fields) -> Row:
    """The pair of a row that names its media itself. Raises `RowError`."""
    check_fields(row)
    found = make_row(where, row, candidates_of(where, row), _context(where, row))
    _fits_its_task(found)
    return found


def check_fields(row: Fields) -> None:
    """Raises `RowError` for a row with fields beyond those of a pair."""
    if unknown := _unknown(row, FIELDS):
        raise RowError(f"row: unknown field {unknown}, known are {', '.join(FIELDS)}")


def make_row(where: str, row: Fields, both: tuple[str | Medium, str | Medium], context: tuple[Medium, ...] = ()) -> Row:
    """The pair of a row whose candidates and context were read. Raises `RowError`."""
    for name in ("group", "source"):
        if row.get(name):
            text(row, name)
    return Row(
        where=where,
        id=text(row, "id"),
        task=_task(row),
        prompt=text(row, "prompt"),
        candidates=both,
        preferred=_preferred(row),
        context=context,
        group=row.get("group") or "",
        source=row.get("source") or "",
    )


def pair_of(row: Row, opened: Callable[[Medium], Media], source: str) -> PreferencePair:
    """A row as a pair of our schema, its media as `opened` gives them. Raises `RowError` for what is no pair."""
    try:
        first, second = (
            Candidate(text=one) if isinstance(one, str) else Candidate(media=opened(one)) for one in row.candidates
        )
        return PreferencePair(
            id=row.id,
            task=row.task,
            prompt=row.prompt,
            context=tuple(opened(one) for one in row.context),
            candidates=(first, second),
            preferred=row.preferred,
            source=source,
            group=row.group,
        )
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        problem = found["msg"].removeprefix("Value error, ")
        raise RowError(f"row: {where}: {problem}" if where else f"row: {problem}") from error


def candidates_of(where: str, row: Fields) -> tuple[str | Medium, str | Medium]:
    """Both candidates of a row, each a text or a medium. Raises `RowError`."""
    first, second = two(row, "candidates")
    return _candidate(where, first, "candidates[0]"), _candidate(where, second, "candidates[1]")


def _candidate(where: str, given: object, name: str) -> str | Medium:
    if not isinstance(given, dict):
        raise RowError(f'row: {name} is neither {{"text": …}} nor {{"media": …}}')
    _only(given, _CANDIDATE, name)
    answer, shown = given.get("text"), given.get("media")
    if isinstance(shown, dict) and not any(value is not None for value in shown.values()):
        shown = None  # how Parquet writes that there is no medium
    if (answer is None) == (shown is None):
        raise RowError(f"row: {name} is either a text or a medium: give exactly one of the two")
    return as_text(answer, f"{name}.text") if shown is None else _medium(shown, f"{name}.media", where)


def _medium(given: object, name: str, where: str) -> Medium:
    """A medium by its path or as `{"bytes", "path"}`; what else such an object holds is refused by name."""
    if isinstance(given, dict):
        _only(given, _MEDIUM, name)
        if given.get("bytes") is None and given.get("path") is not None:
            as_text(given["path"], f"{name}.path")
    return medium(given, name, where)


def _only(given: Fields, names: tuple[str, ...], of: str) -> None:
    if unknown := _unknown(given, names):
        raise RowError(f"row: {of} has the unknown field {unknown}, known are {', '.join(names)}")


def _unknown(given: Fields, names: tuple[str, ...]) -> str:
    """The names that are none of these; half a character, which JSON can write, could not be reported as it is."""
    return ", ".join(sorted(name[:SHOWN].encode(errors="replace").decode() for name in given if name not in names))


def _context(where: str, row: Fields) -> tuple[Medium, ...]:
    given = row.get("context")
    if given is None:
        return ()
    if not isinstance(given, list):
        raise RowError(f"row: context is of type {type(given).__name__}: give a list of media")
    return tuple(_medium(one, f"context[{number}]", where) for number, one in enumerate(given))


def _task(row: Fields) -> Task:
    name = text(row, "task")
    if name not in set(Task):
        raise RowError(f"row: task is {name[:SHOWN]!r}, none of {', '.join(Task)}")
    return Task(name)


def _preferred(row: Fields) -> Preferred:
    label = present(row, "preferred")
    if isinstance(label, bool) or not isinstance(label, int | str) or label not in LABELS:
        raise RowError(f"row: preferred is {str(label)[:SHOWN]!r}, none of 1, 2 and tie")
    return LABELS[label]


def _fits_its_task(row: Row) -> None:
    """The same of a row as `PreferencePair` asks of a pair, but before any medium was decoded for it."""
    task, kind, shown = row.task, row.task.media_kind, len(row.context)
    for at, one in enumerate(row.candidates):
        if isinstance(one, str) == task.judges_media:
            is_a, wants = ("text", f"{kind}s") if task.judges_media else ("medium", "texts")
            raise RowError(f"row: candidates[{at}] is a {is_a}, and {task} compares two {wants}")
    if task.judges_media and shown:
        raise RowError(f"row: context has {shown} media, and {task} takes none")
    if not task.judges_media and not shown:
        raise RowError(f"row: context is empty, and {task} needs its {kind}")
    if task is Task.VIDEO_UNDERSTANDING and shown > 1:
        raise RowError(f"row: context has {shown} media, and {task} takes one video")
