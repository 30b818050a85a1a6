"""Source `jsonl`: your own pairs. A folder with `pairs.jsonl` (models/sources/pair_format.py) and the media it names.

A row that cannot be read, and a pair whose medium is missing or cannot be decoded, is invalid, with its reason; the
others go on. Which split a pair joins is decided in models/splits/assign.py.
"""

import errno
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import DataError, MediaError
from models.hygiene.perceptual import perceptual_hash
from models.media.decoding import HERE, Decoding
from models.media.frames import decode
from models.pairs.dataset import InvalidPair
from models.pairs.file_blobs import FileBlobs
from models.pairs.preference import Media, PreferencePair
from models.sources.fields import RowError
from models.sources.pair_format import LISTING, pair_of, read_pairs
from models.sources.rows import TWICE, InvalidRow, Medium, Row, name_of

SOURCE = "jsonl"  # of pairs that name none


@dataclass(frozen=True)
class Rows:
    """What a folder of pairs holds: the valid ones in the order of their lines, and the invalid ones.

    `blobs` are read when they are asked for. `lines` gives each valid pair's line by its id, `invalid` the line of
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
class _Request:
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
    rows = list(read_pairs(listing))
    names = [name_of(one) for _, row in rows if isinstance(row, Row) for one in row.media()]
    media = _Media(folder, names, max_frames, decoding)
    pairs: dict[str, PreferencePair] = {}
    found_at: dict[str, int] = {}
    invalid: list[tuple[int, InvalidPair]] = []
    for done, (number, row) in enumerate(rows, start=1):
        name = row.id or f"line {number}"
        try:
            pair = _pair(row, media)
            if pair.id in pairs:
                raise RowError(TWICE)
            pairs[pair.id], found_at[pair.id] = pair, number
        except MediaError as error:
            reason = f"media: {error.reason.split(':')[0]}"
            invalid.append((number, InvalidPair(name, reason, error.uri, error.passing)))
        except RowError as error:
            invalid.append((number, InvalidPair(name, str(error))))
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
        requests = ((name, _Request(folder, name, max_frames)) for name in wanted)
        self._arriving = zip(wanted, decoding.map(_read_medium, requests), strict=True)
        self._there: dict[str, _Medium | MediaError] = {}

    def place(self, name: str) -> tuple[Path, str]:
        """The file of a medium that can be decoded, and its sha256. Raises its `MediaError` if it cannot."""
        found = self._found(name)
        return found.path, found.sha256

    def hashes(self, name: str) -> tuple[int, ...]:
        """The perceptual hashes of a medium that can be decoded. Raises as `place` does."""
        return self._found(name).hashes

    def _found(self, name: str) -> "_Medium":
        while name not in self._there:
            arrived, found = next(self._arriving)
            self._there[arrived] = found
        found = self._there[name]
        if isinstance(found, MediaError):
            raise found
        return found


def _pair(row: Row | InvalidRow, media: _Media) -> PreferencePair:
    """The row's pair. Raises `RowError`, and `MediaError` for the first of its media that cannot be decoded."""
    if isinstance(row, InvalidRow):
        raise RowError(row.reason)
    kind = row.task.media_kind
    opened = {
        name_of(one): Media(kind=kind, uri=name_of(one), sha256=media.place(name_of(one))[1]) for one in row.media()
    }

    def find(medium: Medium) -> Media:
        return opened[name_of(medium)]

    return pair_of(row, find, row.source or SOURCE)


def _read_medium(request: _Request) -> _Medium:
    folder, name = request.folder, request.name
    try:
        path = (folder / name).resolve()
        inside = path.is_relative_to(folder.resolve())
    except (RuntimeError, ValueError) as error:
        raise MediaError(name, "cannot be read: a loop of links, or a name that no file can have") from error
    if not inside:
        raise MediaError(name, "lies outside the data folder")
    try:
        if not path.is_file():
            raise MediaError(name, "does not exist")
        data = path.read_bytes()
    except OSError as error:
        passing = error.errno != errno.ENAMETOOLONG
        raise MediaError(name, f"cannot be read: {error.strerror}", passing=passing) from error
    hashes = perceptual_hash(decode(data, name, max_frames=request.max_frames))
    return _Medium(path, hashlib.sha256(data).hexdigest(), hashes)
