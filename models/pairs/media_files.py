"""Media in Parquet shards (uri, sha256, data), found by uri without reading the others."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from models.errors import MediaError

GROUPS_BYTES = 128 * 2**20  # of encoded media kept in memory, beside the row group read last


class MediaFiles:
    """The `media-*.parquet` of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[str, tuple[Path, int]] | None = None
        self._groups: OrderedDict[tuple[Path, int], dict[str, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def blob(self, uri: str) -> bytes:
        """The encoded bytes of a medium. Raises `MediaError` if no file holds it."""
        if self._places is None:
            self._places = {uri: (path, group) for path, group, uri in _listed(self._folder)}
        if uri not in self._places:
            raise MediaError(uri, "is not in the dataset")
        return self._group(*self._places[uri])[uri]

    def _group(self, path: Path, group: int) -> dict[str, bytes]:
        """A row group, from memory if it is there; those used longest ago are forgotten beyond `GROUPS_BYTES`."""
        with self._lock:
            if found := self._groups.get((path, group)):
                self._groups.move_to_end((path, group))
                return found
            found = self._groups[path, group] = _read_group(path, group)
            held = sum(len(data) for one in self._groups.values() for data in one.values())
            while len(self._groups) > 1 and held > GROUPS_BYTES:
                _, gone = self._groups.popitem(last=False)
                held -= sum(map(len, gone.values()))
            return found

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Every medium by uri, a row group in memory at a time."""
        for path in sorted(self._folder.glob("media-*.parquet")):
            with pq.ParquetFile(path) as opened:
                count = opened.num_row_groups
            for group in range(count):
                yield from _read_group(path, group).items()


def _listed(folder: Path) -> Iterator[tuple[Path, int, str]]:
    for path in sorted(folder.glob("media-*.parquet")):
        with pq.ParquetFile(path) as opened:
            for group in range(opened.num_row_groups):
                for uri in opened.read_row_group(group, columns=["uri"])["uri"].to_pylist():
                    yield path, group, uri


def _read_group(path: Path, group: int) -> dict[str, bytes]:
    with pq.ParquetFile(path) as opened:
        table = opened.read_row_group(group, columns=["uri", "data"])
    return dict(zip(table["uri"].to_pylist(), table["data"].to_pylist(), strict=True))
