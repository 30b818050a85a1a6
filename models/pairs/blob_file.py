"""Many media on disk, found by name, in one scratch file: what a data set larger than memory is written from."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType


class BlobFile(Mapping[str, bytes]):
    """Bytes by name, appended with `add` and read back one by one; in memory are the names and places alone."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("x+b")
        self._end = 0
        self._places: dict[str, tuple[int, int]] = {}

    def add(self, name: str, data: bytes) -> None:
        """Keep `data` under a name; a name that is there stays as it is."""
        if name not in self._places:
            self._file.write(data)
            self._places[name] = (self._end, len(data))
            self._end += len(data)

    def __enter__(self) -> "BlobFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __getitem__(self, name: str) -> bytes:
        start, size = self._places[name]
        self._file.flush()
        return os.pread(self._file.fileno(), size, start)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
