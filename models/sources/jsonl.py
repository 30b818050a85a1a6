"""Source `jsonl`: your own pairs. A folder with `pairs.jsonl`, one pair a line, and the media it names.

    {"id": "a1", "task": "image_generation", "prompt": "a red kite", "preferred": 1,
     "candidates": [{"media": "kite-1.png"}, {"media": "kite-2.png"}]}
    {"id": "b7", "task": "image_understanding", "prompt": "What flies here?", "preferred": 2,
     "context": ["kite-1.png"], "candidates": [{"text": "a dog"}, {"text": "a kite"}]}

A line that cannot be read, and a pair whose medium is missing or cannot be decoded, is quarantined with
its reason; the others go on. Which split a pair joins is decided in models/pairs/splits/assign.py.
"""

import errno
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.errors import DataError, MediaError
from models.hygiene.perceptual import perceptual_hash
from models.media.decoding import HERE, Decoding
from models.media.frames import decode
from models.pairs.dataset import InvalidPair
from models.pairs.file_blobs import FileBlobs
from models.pairs.preference import PreferencePair, Task

LISTING = "pairs.jsonl"


@dataclass(frozen=True)
class Rows:
    """What a folder of pairs holds: the usable ones in the order of their lines, and what was left out.

    `blobs` are read when they are asked for. `lines` gives each usable pair's line by its id, `invalid` the line of
    each other one; counted from 1. `hashes` are the perceptual hashes of the media by sha256.
    """

    pairs: list[PreferencePair]
    lines: dict[str, int]
    blobs: FileBlobs
    invalid: list[tuple[int, InvalidPair]]
    hashes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many lines hold something."""
        return len(self.pairs) + len(self.invalid)


@dataclass(frozen=True)
class _Medium:
    """One medium that can be decoded: its file, the digest of its bytes, and the perceptual hashes of its frames."""

    path: Path
    sha256: str
    hashes: tuple[int, ...]


@dataclass(frozen=True)
class _Errand:
    """One medium to read and decode."""

    folder: Path
    name: str
    max_frames: int


def read_rows(
    folder: Path,
    *,
    max_frames: int,
    decoding: Decoding = HERE,
    on_progress: Callable[[int, int], None] | None = None,
) -> Rows:
    """The rows of a folder before any split. Raises `DataError` without a `pairs.jsonl`.

    `decoding` is where its media are decoded: `models.media.decoding.Decoders` for what people bring.
    """
    listing = folder / LISTING
    if not listing.is_file():
        raise DataError(f"{listing} does not exist: put one JSON object a line there (README, 'Your own pairs')")
    # Bytes, cut at line feeds alone: one undecodable line stays one line, and JSON text may hold U+2028.
    lines = [(at, line) for at, line in enumerate(listing.read_bytes().split(b"\n"), start=1) if line.strip()]
    rows = [(at, _parsed(line)) for at, line in lines]
    media = _Media(folder, [name for _, row in rows for name in _names(row)], max_frames, decoding)
    pairs: dict[str, PreferencePair] = {}
    found_at: dict[str, int] = {}
    invalid: list[tuple[int, InvalidPair]] = []
    for done, (number, row) in enumerate(rows, start=1):
        try:
            if isinstance(row, Exception):
                raise row
            pair = _read_pair(row, media)
            if pair.id in pairs:
                raise DataError("its id is there twice")
            pairs[pair.id], found_at[pair.id] = pair, number
        except MediaError as error:
            reason = f"media: {error.reason.split(':')[0]}"
            invalid.append((number, InvalidPair(_name(row, number), reason, error.uri, error.passing)))
        except (DataError, ValueError, KeyError, TypeError, RecursionError) as error:
            invalid.append((number, InvalidPair(_name(row, number), f"row: {_why(error)}")))
        if on_progress is not None:
            on_progress(done, len(rows))
    used = {medium.uri for pair in pairs.values() for medium in pair.media()}
    blobs = FileBlobs({uri: media.place(uri) for uri in sorted(used)})
    hashes = {medium.sha256: media.hashes(medium.uri) for pair in pairs.values() for medium in pair.media()}
    return Rows(list(pairs.values()), found_at, blobs, invalid, hashes)


class _Media:
    """The media that rows name, decoded in the order of the rows, each once and when it is first asked for."""

    def __init__(self, folder: Path, names: Iterable[str], max_frames: int, decoding: Decoding) -> None:
        wanted = list(dict.fromkeys(names))
        errands = ((name, _Errand(folder, name, max_frames)) for name in wanted)
        self._arriving = zip(wanted, decoding.map(_read_medium, errands), strict=True)
        self._there: dict[str, _Medium | MediaError] = {}

    def place(self, name: str) -> tuple[Path, str]:
        """The file of a medium that can be decoded, and its sha256. Raises its `MediaError` if it cannot."""
        found = self._found(name)
        return found.path, found.sha256

    def hashes(self, name: str) -> tuple[int, ...]:
        """The perceptual hashes of a medium that can be decoded. Raises as `place` does."""
        return self._found(name).hashes

    def _found(self, name: str) -> "_Medium":
        if not isinstance(name, str):
            raise DataError(f"{name!r} names no medium: give a path as text")
        while name not in self._there:
            arrived, found = next(self._arriving)
            self._there[arrived] = found
        found = self._there[name]
        if isinstance(found, MediaError):
            raise found
        return found


def _parsed(line: bytes) -> Any:
    """What a line holds, or why it is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return error


def _names(row: Any) -> list[str]:
    """The media that a row names, whatever else may be wrong with it."""
    if not isinstance(row, dict):
        return []
    context, candidates = row.get("context"), row.get("candidates")
    named = [*context] if isinstance(context, list) else []
    named += [one.get("media") for one in candidates if isinstance(one, dict)] if isinstance(candidates, list) else []
    return [name for name in named if isinstance(name, str)]


def _read_pair(given: Any, media: _Media) -> PreferencePair:
    if not isinstance(given, dict):
        raise DataError("is no JSON object")
    row = dict(given)
    kind = Task(row["task"]).media_kind

    def medium(name: str) -> dict[str, str]:
        return {"kind": kind, "uri": name, "sha256": media.place(name)[1]}

    context = row.get("context", ())
    if isinstance(context, str):
        raise DataError("context is a text: give a list of media")
    if any(not isinstance(candidate, dict) for candidate in row["candidates"]):
        raise DataError('a candidate is neither {"text": …} nor {"media": …}')
    row["context"] = [medium(name) for name in context]
    row["candidates"] = [{**c, "media": medium(c["media"])} if c.get("media") else c for c in row["candidates"]]
    row.setdefault("source", "jsonl")
    return PreferencePair.model_validate(row)


def _read_medium(errand: _Errand) -> _Medium:
    folder, name = errand.folder, errand.name
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise MediaError(name, "lies outside the data folder")
    try:
        if not path.is_file():
            raise MediaError(name, "does not exist")
        data = path.read_bytes()
    except OSError as error:
        passing = error.errno != errno.ENAMETOOLONG
        raise MediaError(name, f"cannot be read: {error.strerror}", passing=passing) from error
    hashes = perceptual_hash(decode(data, name, max_frames=errand.max_frames))
    return _Medium(path, hashlib.sha256(data).hexdigest(), hashes)


def _name(row: Any, number: int) -> str:
    """The pair's id, or its line in the file, counted from 1."""
    return str(row["id"]) if isinstance(row, dict) and "id" in row else f"line {number}"


def _why(error: Exception) -> str:
    """One line that says what is wrong with a row."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}" if where else first["msg"].removeprefix("Value error, ")
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg}"
    return f"{error} is missing" if isinstance(error, KeyError) else str(error).split("\n")[0]
