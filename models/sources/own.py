"""Source `own`: your own pairs in our schema, as JSON lines or as Parquet.

Licence, size and citation are those of whoever made the set: nothing of it is published here, and it has no URL.

Either `pairs.jsonl` with the media beside it (models/sources/pair_format.py), which is read where both are there, or
`*.parquet`, at the root or in `data/`, with the same columns, as `datasets` writes them:

    Features({"id": Value("string"), "task": Value("string"), "prompt": Value("string"), "preferred": Value("string"),
              "context": List(Image()), "candidates": List({"text": Value("string"), "media": Image()}),
              "group": Value("string")})

`Sequence({…})` for candidates would be stored as one object of lists, which is refused: it takes a list of objects.
`Video()` takes the place of `Image()` for videos; both keep {"bytes", "path"}. A medium without bytes is the file that
its path names below the root. `preferred` is a text in Parquet, since a column has one type. `source` is checked and
not kept, since an import names its source itself.
"""

from collections.abc import Iterator
from pathlib import Path

from models.sources.fields import valid_rows
from models.sources.listings import find, rows_of
from models.sources.pair_format import FIELDS, LISTING, read_pairs, row_of
from models.sources.rows import InvalidRow, Row


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the files. Raises `DataError` where there are none."""
    layout = f"{LISTING} or *.parquet with {', '.join(FIELDS)}"
    files = find(root, LISTING, "*.parquet", "data/*.parquet", layout=layout)
    if files[0].name == LISTING:
        return (row for _, row in read_pairs(files[0]))
    return valid_rows(rows_of(root, files), row_of)
