"""Media in files of their own, read when they are asked for: what a data set larger than memory is made from."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from models.errors import DataChanged


class FileBlobs(Mapping[str, bytes]):
    """Bytes by name; `places` has each one's file and sha256."""

    def __init__(self, places: Mapping[str, tuple[Path, str]]) -> None:
        self.places = dict(places)

    def __getitem__(self, name: str) -> bytes:
        """The bytes. Raises `DataChanged` where the file does not hold them any more."""
        path, sha256 = self.places[name]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataChanged(f"{path} cannot be read any more: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DataChanged(f"{path} changed after it was read: try again once it is at rest")
        return data

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def renamed(self, names: Mapping[str, str]) -> "FileBlobs":
        """Those of the names that `names` has, under the names that it gives them."""
        return FileBlobs({new: self.places[old] for old, new in names.items()})

    def only(self, names: Iterable[str]) -> "FileBlobs":
        """Those of these names."""
        return self.renamed({name: name for name in names})
