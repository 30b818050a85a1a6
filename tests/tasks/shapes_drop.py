"""Drops made of the embedded world, as people would make them: a folder with `pairs.jsonl` and PNG files."""

import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from models.pairs.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from models.sources.pair_format import fields_of


def write_drop(
    folder: Path,
    *,
    seed: int,
    count: int = 2,
    tasks: Iterable[Task] = Task,
    held_out: bool = False,
    more: Sequence[Any] = (),
) -> list[PreferencePair]:
    """Write `count` pairs a task of the world `seed` and then the rows `more`; gives the pairs.

    Another seed than the profile's gives other pairs. Rows in `more` are JSON values, or bytes written as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = [make_pair(task, at, seed=seed, held_out=held_out) for task in tasks for at in range(count)]
    for one in made:
        for uri, data in one.blobs.items():
            (folder / uri).write_bytes(data)
    rows = [*(row_of(one.pair) for one in made), *more]
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (folder / "pairs.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return [one.pair for one in made]


def row_of(pair: PreferencePair) -> dict[str, Any]:
    """The pair as a line of `pairs.jsonl` that does not name who made it."""
    return {name: value for name, value in fields_of(pair).items() if name != "source"}


def zipped(folder: Path, archive: Path, *, below: str = "") -> Path:
    """The folder's files as an archive, within a folder `below` if one is named."""
    with zipfile.ZipFile(archive, "w") as writer:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                writer.write(path, f"{below}{path.relative_to(folder).as_posix()}")
    return archive
