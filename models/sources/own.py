"""Source `own`: your own pairs in our schema, as JSON lines or as Parquet.

Licence, size and citation are those of whoever made the set: nothing of it is published here, and it has no URL.

`pairs.jsonl` with the media beside it, in the layout of models/sources/jsonl.py:

    {"id": "a1", "task": "image_generation", "prompt": "a red kite", "preferred": 1,
     "candidates": [{"media": "kite-1.png"}, {"media": "kite-2.png"}]}
    {"id": "b7", "task": "image_understanding", "prompt": "What flies here?", "preferred": "tie",
     "context": ["kite-1.png"], "candidates": [{"text": "a dog"}, {"text": "a kite"}]}

or `*.parquet`, at the root or in `data/`, with the same columns, as `datasets` writes them:

    Features({"id": Value("string"), "task": Value("string"), "prompt": Value("string"), "preferred": Value("string"),
              "context": List(Image()), "candidates": List({"text": Value("string"), "media": Image()}),
              "group": Value("string")})

`Sequence({…})` for candidates would be stored as one object of lists, which is refused: it takes a list of objects.
`Video()` takes the place of `Image()` for videos; both keep {"bytes", "path"}. A medium without bytes is the file that
its path names below the root. `preferred` is 1, 2 or "tie", in Parquet also as text, since a column has one type.
`context`, `group` and `source` may be left out or null; `source` is checked and not kept, since an import names its
source itself. Whatever else a row holds is refused by name, so that a misspelt `context` is not lost. Where both are
there, `pairs.jsonl` is read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.pairs.preference import PreferencePair, Preferred, Task
from models.sources.fields import SHOWN, Fields, RowError, as_text, medium, present, text, two, valid_rows
from models.sources.listings import find, rows_of
from models.sources.rows import InvalidRow, Medium, Row

FIELDS = tuple(PreferencePair.model_fields)
LABELS: dict[object, Preferred] = {1: 1, 2: 2, "1": 1, "2": 2, "tie": "tie"}
_CANDIDATE = ("text", "media")
_MEDIUM = ("bytes", "path")


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the files. Raises `DataError` where there are none."""
    layout = f"pairs.jsonl or *.parquet with {', '.join(FIELDS)}"
    files = find(root, "pairs.jsonl", "*.parquet", "data/*.parquet", layout=layout)
    in_parquet = files[0].suffix == ".parquet"

    def make(where: str, row: dict[str, Any]) -> Row:
        known(row)
        if not in_parquet and row.get("preferred") in ("1", "2"):
            raise RowError(f"row: preferred is the text {row['preferred']!r}: write the number")
        found = labelled(where, row, candidates(where, row), _context(where, row))
        _fits_its_task(found)
        return found

    return valid_rows(rows_of(root, files), make)


def known(row: Fields) -> None:
    """Raises `RowError` for a row with fields beyond those of a pair."""
    if unknown := _unknown(row, FIELDS):
        raise RowError(f"row: unknown field {unknown}, known are {', '.join(FIELDS)}")


def labelled(where: str, row: Fields, both: tuple[str | Medium, str | Medium], context: tuple[Medium, ...] = ()) -> Row:
    """The pair of a row in our schema whose candidates and context were read. Raises `RowError`."""
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
    )


def candidates(where: str, row: Fields) -> tuple[str | Medium, str | Medium]:
    """Both candidates of a row, each a text or a medium. Raises `RowError`."""
    first, second = two(row, "candidates")
    return _candidate(where, first, "candidates[0]"), _candidate(where, second, "candidates[1]")


def _candidate(where: str, given: object, name: str) -> str | Medium:
    if not isinstance(given, dict):
        raise RowError(f'row: {name} is neither {{"text": …}} nor {{"media": …}}')
    _only(given, _CANDIDATE, name)
    said, shown = given.get("text"), given.get("media")
    if isinstance(shown, dict) and not any(value is not None for value in shown.values()):
        shown = None  # Parquet's way to leave a medium out
    if (said is None) == (shown is None):
        raise RowError(f"row: {name} is either a text or a medium: give exactly one of the two")
    return as_text(said, f"{name}.text") if shown is None else _medium(shown, f"{name}.media", where)


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
    said = text(row, "task")
    if said not in set(Task):
        raise RowError(f"row: task is {said[:SHOWN]!r}, none of {', '.join(Task)}")
    return Task(said)


def _preferred(row: Fields) -> Preferred:
    said = present(row, "preferred")
    if isinstance(said, bool) or not isinstance(said, int | str) or said not in LABELS:
        raise RowError(f"row: preferred is {str(said)[:SHOWN]!r}, none of 1, 2 and tie")
    return LABELS[said]


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
