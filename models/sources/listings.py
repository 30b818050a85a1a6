"""Reading the listings of data sets row by row: JSON arrays, JSON lines and Parquet, in bounded memory.

Each function gives pairs of where a row stands (`data.json#12`, counted from 1) and the row, or for a line that is no
JSON, where it stands and an `InvalidRow`. Errors of a whole file are `DataError`s that name it.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import ijson
import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import DataError
from models.sources.rows import InvalidRow

PARQUET_ROWS = 64  # rows of media in memory at once
MOST_NESTED = 64  # lists and objects within each other
# ijson names the place of every event of what it has read at once before it gives the first: of 30 kB of brackets the
# names were 2.3 GB, of this much they are 42 MB.
READ_AT_ONCE = 4096


def find(root: Path, *patterns: str, layout: str) -> list[Path]:
    """The files of the first pattern that has any, sorted. Raises `DataError` that tells the layout."""
    for pattern in patterns:
        if found := sorted(path for path in root.glob(pattern) if path.is_file()):
            return found
    raise DataError(f"{root} has no {' or '.join(patterns)}: expected {layout}")


def rows_of(root: Path, files: Sequence[Path]) -> Iterator[tuple[str, Any]]:
    """The rows of files by their suffix: `.json` (one array), `.jsonl`, `.parquet`."""
    for file in files:
        name = file.relative_to(root).as_posix()
        read = {".json": json_array, ".jsonl": json_lines, ".parquet": parquet}.get(file.suffix)
        if read is None:
            raise DataError(f"{file}: {file.suffix or 'no suffix'} is none of .json, .jsonl and .parquet")
        for number, row in enumerate(read(file), start=1):
            where = f"{name}#{number}"
            yield where, InvalidRow(where, "", row.reason) if isinstance(row, InvalidRow) else row


def json_array(file: Path) -> Iterator[Any]:
    """The items of a JSON array. Raises `DataError` where the file is none, at the item that breaks it."""
    number = 0
    try:
        with file.open("rb") as opened:
            for item in ijson.items(_shallow(file, opened), "item"):
                number += 1
                yield item
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not JSON after row {number}: {str(error).splitlines()[0]}") from error


def _shallow(file: Path, opened: IO[bytes]) -> Iterator[tuple[str, str, Any]]:
    """The file's events. Raises `DataError` where it holds no array, or nests beyond what any listing needs."""
    depth = 0
    for at, event in enumerate(ijson.parse(opened, use_float=True, buf_size=READ_AT_ONCE)):
        if at == 0 and event[1] != "start_array":
            raise DataError(f"{file} holds no JSON array but begins with {event[1].replace('_', ' ')}")
        depth += (event[1] in ("start_array", "start_map")) - (event[1] in ("end_array", "end_map"))
        if depth > MOST_NESTED:
            raise DataError(f"{file} nests deeper than {MOST_NESTED} lists and objects, the limit: it is no listing")
        yield event


def json_lines(file: Path) -> Iterator[Any]:
    """The values of JSON lines without the empty ones; what is no JSON is an `InvalidRow`."""
    return (value for _, value in numbered_lines(file))


def numbered_lines(file: Path) -> Iterator[tuple[int, Any]]:
    """The same with the number of each line, counted from 1, empty lines too."""
    with file.open("rb") as opened:
        for number, line in enumerate(opened, start=1):  # bytes, cut at line feeds alone: JSON text may hold U+2028
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, InvalidRow("", "", f"row: not JSON: {str(error).splitlines()[0]}")


def parquet(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file as the Hugging Face Hub keeps them: an image is {"bytes": …, "path": …}."""
    try:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=PARQUET_ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no readable Parquet: {str(error).splitlines()[0]}") from error
