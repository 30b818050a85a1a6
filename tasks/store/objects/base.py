"""What the artifact store asks of a storage, whichever it is: whole objects, addressed by relative path.

Two implementations: `objects_local.LocalObjects` and `objects_s3.S3Objects`. Nothing outside the store's
own files (`tasks/store/artifacts.py` and its siblings) uses this module.

A contract that both keep: an object is seen whole or not at all; `FileNotFoundError` means that there
really is no such object; every other failure is a `StoreError` that names the address.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from models.errors import StoreError

CHUNK_BYTES = 1 << 20
TRANSFER_THREADS = 8
TEMPORARY = "tmp"

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Found(NamedTuple):
    """One stored object: its path below the root, bytes, and last change (Unix seconds, the storage's clock)."""

    path: str
    size: int
    modified: float


class Source(NamedTuple):
    """One local file to store: where it goes below a prefix, where it is, and what it held when hashed."""

    name: str
    local: Path
    size: int
    sha256: str

    def changed(self) -> StoreError:
        """The error that is due when the bytes that were read to be stored are not those that were hashed."""
        return StoreError(f"{self.local} changed while it was being stored: publish what is no longer written to")


class Unfinished(NamedTuple):
    """A large upload that was begun and is not visible: what it would be, its id, when it began (Unix seconds)."""

    path: str
    upload_id: str
    modified: float


class Objects(ABC):
    """A storage root. Paths are relative, '/'-separated and already validated by the caller."""

    @abstractmethod
    def uri(self, path: str) -> str:
        """The absolute URI of `path`, readable by other tools (percent-encoded for `file://`)."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The object's bytes. Raises `FileNotFoundError` only when it is not there."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is an object (not a folder) at `path`."""

    @abstractmethod
    def sha256(self, path: str, size: int | None = None) -> str:
        """Reads the stored object and hashes it; 64 hex digits. Raises `FileNotFoundError`.

        `size` is what it should have, in bytes, if that is known: it saves a remote storage asking for it.
        """

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Puts the object, in place of one that is there, so that readers see the old or the new bytes."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """Puts the object only if there is none; whether this call (and no other) made it."""

    @abstractmethod
    def upload(self, source: Source, path: str) -> None:
        """Puts a local file. Raises `StoreError` if it no longer is what `source` describes."""

    @abstractmethod
    def download(self, path: str, local: Path, size: int | None = None) -> str:
        """Writes the object to `local`, whose folder exists; the sha256 of what was written. `size` as in `sha256`."""

    @abstractmethod
    def add_tree(self, prefix: str, sources: Sequence[Source], seal: str, data: bytes, *, replace: bool) -> None:
        """Stores every source below `prefix`, and last the object `<prefix>/<seal>` that makes them visible.

        A seal that is there stays, unless `replace`: what is there is damaged.
        """

    @abstractmethod
    def walk(self, prefix: str) -> list[Found]:
        """Every object below the folder `prefix`, by path. A prefix that nothing was put under is empty."""

    @abstractmethod
    def folders(self, prefix: str) -> list[str]:
        """The names right below the folder `prefix` that hold, or just held, something deeper, sorted."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Removes one object; no error when it is not there."""

    @abstractmethod
    def remove_tree(self, prefix: str) -> None:
        """Removes everything below `prefix`; no error when nothing is there."""

    @abstractmethod
    def unfinished(self) -> list[Unfinished]:
        """Large uploads below the root that were begun and neither finished nor given up; their parts take space."""

    @abstractmethod
    def give_up(self, upload: Unfinished) -> None:
        """Removes what was sent of an unfinished upload; no error when it is finished or gone."""

    def local_path(self, path: str) -> Path | None:
        """Where the object is on this machine's own file system, or None for a remote storage."""
        return None

    def free_bytes(self) -> int | None:
        """Bytes that can still be stored, or None where the storage does not report it."""
        return None


def hash_file(path: Path) -> str:
    """sha256 of a local file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`function` of each item, in order, a few at a time. The first failure stops what has not begun."""
    with ThreadPoolExecutor(max_workers=TRANSFER_THREADS, thread_name_prefix="store") as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def prefetch(function: Callable[[Item], Result], items: Iterable[Item], at_once: int) -> Iterator[Result]:
    """`function` of each item, in order, begun in threads up to `at_once` items ahead of who takes the results."""
    with ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="part") as pool:
        begun: deque[Future[Result]] = deque()
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) == at_once:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def segment(value: str, what: str) -> str:
    """`value` if it can be one component of a stored path (stage, key, kind, tree name), else `StoreError`."""
    if not _SEGMENT.fullmatch(value):
        raise StoreError(f"{what} {value!r}: use 1 to 200 letters, digits and . _ + -, starting with a letter or digit")
    return value


def relative_path(value: str) -> str:
    """`value` if it stays below its folder on every storage, else `ValueError`.

    Spaces and any UTF-8 are fine; '..', absolute paths, empty components and control characters are not.
    """
    if any(part in ("", ".", "..") for part in value.split("/")):
        raise ValueError(f"path {value!r} must be relative, without '..', '.' or empty components")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError(f"path {value!r} holds a control character: rename the file")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"path {value!r} is not UTF-8: rename the file") from None
    return value
