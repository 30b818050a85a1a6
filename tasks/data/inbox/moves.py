"""Moving a submission so that a crash loses nothing and leaves no half of it to be read as another submission.

A storage has no move of many files. So a move is first written down as work in progress, then done file by file, then
crossed off; whoever holds the inbox's lease next finishes what was written down. Until then the submission's folder
holds what is left of it, which is why pending moves are finished before the inbox is read.

Why files are moved at all, although an index entry and an artifact keep every submission: the folders are what people
see in any file browser, what waits, what was taken and what comes back with its reason. With files that stay where
they are, each run would list all that was ever submitted (on S3 a request per 1000 names). Removing instead of moving
needs the same journal, since a half removed submission reads as another one, and takes away what people correct.
"""

import json
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from models.errors import StoreError
from tasks.store.artifacts import Store
from tasks.store.objects.base import Found, Source

MOVES = "moves"  # the key of the work in progress


def move(store: Store, files: Sequence[Found], *, source: str, target: str, notes: Mapping[str, str]) -> None:
    """Move `files`, all of them below the folder `source` or `source` itself, to the folder `target`.

    `notes` are texts by name that are written beside them. A file that changes meanwhile stays where it is.
    """
    plan = {
        "source": source,
        "target": target,
        "files": [[found.path, _place(found.path, source, target), found.size, found.modified] for found in files],
        "notes": dict(notes),
    }
    name = f"{uuid.uuid4().hex}.json"
    store.work("inbox", MOVES).put_bytes(name, json.dumps(plan).encode("ascii"))
    _carry_out(store, plan)
    store.work("inbox", MOVES).delete(name)


def finish_moves(store: Store) -> list[str]:
    """Do what an interrupted run had begun to move; gives the folders that things were moved to."""
    work = store.work("inbox", MOVES)
    targets = []
    for name in work.names():
        plan = work.get_json(name)
        if plan is not None:
            _carry_out(store, plan)
            targets.append(str(plan["target"]))
        work.delete(name)
    return targets


def free_folder(store: Store, wanted: str) -> str:
    """`wanted`, or with a number behind it where something is there already."""
    number, folder = 1, wanted
    while store.objects.walk(folder):
        number += 1
        folder = f"{wanted}-{number}"
    return folder


def _place(path: str, source: str, target: str) -> str:
    within = path.removeprefix(f"{source}/") if path != source else source.rsplit("/", 1)[1]
    return f"{target}/{within}"


def _carry_out(store: Store, plan: dict[str, Any]) -> None:
    for name, text in plan["notes"].items():
        store.objects.write(f"{plan['target']}/{name}", text.encode("utf-8", "backslashreplace"))
    source = plan["source"]
    whole = not any(path == source for path, *_ in plan["files"])
    there = {found.path: found for found in store.objects.walk(source if whole else source.rsplit("/", 1)[0])}
    for path, place, size, modified in plan["files"]:
        found = there.get(path)
        if found is not None and (found.size, found.modified) == (size, modified):
            _move_file(store, path, place, size)
    if whole:
        _tidy(store, source)


def _move_file(store: Store, path: str, place: str, size: int) -> None:
    here, there = store.objects.local_path(path), store.objects.local_path(place)
    if here is not None and there is not None:
        try:
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(here, there)  # across file systems too, should the inbox be a link to another one
        except OSError as error:
            raise StoreError(f"moving {here} to {there} failed: {error.strerror or error}") from error
        return
    with tempfile.TemporaryDirectory(prefix="thinkreward-inbox-") as folder:
        local = Path(folder) / "file"
        sha256 = store.objects.download(path, local, size)
        if local.stat().st_size != size:
            return  # replaced since it was listed: the next run reads it
        store.objects.upload(Source(place, local, size, sha256), place)
    store.objects.remove(path)


def _tidy(store: Store, source: str) -> None:
    """Remove the emptied folders of a file system; one that somebody has put something into stays."""
    local = store.objects.local_path(source)
    if local is None or local.is_symlink() or not local.is_dir():
        return
    for folder in sorted((path for path in local.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):
            folder.rmdir()
    with suppress(OSError):
        local.rmdir()
