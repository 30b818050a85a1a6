"""A storage root on a file system.

On `os` rather than fsspec's LocalFileSystem, which neither syncs to disk nor creates exclusively, and whose
listings leave out what they cannot read: here an unreadable folder must not look like an empty one.
"""

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from models.errors import StoreError
from tasks.store.objects.base import CHUNK_BYTES, TEMPORARY, Found, Objects, Source, Unfinished, hash_file, in_parallel

# Stored artifacts are handed out in place; read-only files keep a reader from changing them by accident.
_READ_ONLY = 0o444


class LocalObjects(Objects):
    """Objects as files below `root`; what is being written is in `<root>/tmp` until it is moved into place."""

    def __init__(self, root: str) -> None:
        if root.startswith("file://"):
            parts = urlsplit(root)
            if parts.netloc not in ("", "localhost") or not parts.path:
                raise StoreError(f"store root {root!r}: a file address has three slashes, as in file:///data/store")
            root = unquote(parts.path)
        self.root = Path(os.path.abspath(os.path.expanduser(root)))

    def uri(self, path: str) -> str:
        return (self.root / path).as_uri()

    def local_path(self, path: str) -> Path:
        return self.root / path

    def free_bytes(self) -> int | None:
        """Free bytes of the file system that the root is, or will be, on."""
        for folder in (self.root, *self.root.parents):
            if folder.exists():
                return shutil.disk_usage(folder).free
        return None

    def read(self, path: str) -> bytes:
        with self._explained("reading", path, missing_is_error=False):
            return (self.root / path).read_bytes()

    def exists(self, path: str) -> bool:
        with self._explained("looking at", path):
            try:
                return stat.S_ISREG((self.root / path).stat().st_mode)
            except FileNotFoundError:
                return False

    def sha256(self, path: str, size: int | None = None) -> str:
        with self._explained("reading", path, missing_is_error=False):
            return hash_file(self.root / path)

    def write(self, path: str, data: bytes) -> None:
        with self._explained("writing", path), self._aside(data) as aside:
            target = self._make_room(path)
            os.replace(aside, target)
            _sync(target.parent)

    def create(self, path: str, data: bytes) -> bool:
        # A link, unlike O_EXCL, appears with all its bytes: nobody reads half a lease.
        with self._explained("creating", path), self._aside(data) as aside:
            target = self._make_room(path)
            try:
                os.link(aside, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                    raise
                # A file system without links: exclusive, though a reader may see it before it is full.
                return self._create_exclusively(target, data)
            _sync(target.parent)
            return True

    def upload(self, source: Source, path: str) -> None:
        with self._explained("writing", path):
            aside = self._temporary()
            try:
                _copy(source, aside)
                os.replace(aside, self._make_room(path))
            finally:
                aside.unlink(missing_ok=True)

    def download(self, path: str, local: Path, size: int | None = None) -> str:
        with self._explained("copying", path, missing_is_error=False):
            return _copy_bytes(self.root / path, local)

    def add_tree(self, prefix: str, sources: Sequence[Source], seal: str, data: bytes, *, replace: bool) -> None:
        with self._explained("writing", prefix):
            aside = self._temporary()
            try:
                in_parallel(lambda source: _copy(source, aside / source.name), sources)
                _write(aside / seal, data)
                for folder, _, _ in os.walk(aside):
                    _sync(Path(folder))
                self._move_in(aside, self._make_room(prefix), [s.name for s in sources], seal, replace)
            finally:
                shutil.rmtree(aside, ignore_errors=True)

    def walk(self, prefix: str) -> list[Found]:
        with self._explained("listing", prefix):
            return sorted(self._below(self.root / prefix))

    def folders(self, prefix: str) -> list[str]:
        with self._explained("listing", prefix):
            try:
                with os.scandir(self.root / prefix) as entries:
                    return sorted(entry.name for entry in entries if entry.is_dir())
            except FileNotFoundError:
                return []

    def remove(self, path: str) -> None:
        with self._explained("removing", path), suppress(FileNotFoundError):
            (self.root / path).unlink()

    def remove_tree(self, prefix: str) -> None:
        with self._explained("removing", prefix), suppress(FileNotFoundError):
            shutil.rmtree(self.root / prefix)

    def unfinished(self) -> list[Unfinished]:
        return []  # what is being written is in tmp/, where walk() finds it

    def give_up(self, upload: Unfinished) -> None:
        raise NotImplementedError(f"{upload}: there are none here")

    def _below(self, folder: Path) -> Iterator[Found]:
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return  # never made, or removed while we were listing
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(Path(entry.path))
                continue
            with suppress(FileNotFoundError):
                info = entry.stat()
                yield Found(Path(entry.path).relative_to(self.root).as_posix(), info.st_size, info.st_mtime)

    def _temporary(self) -> Path:
        folder = self.root / TEMPORARY
        folder.mkdir(parents=True, exist_ok=True)
        return folder / uuid.uuid4().hex

    def _make_room(self, path: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    @contextmanager
    def _aside(self, data: bytes) -> Iterator[Path]:
        aside = self._temporary()
        try:
            _write(aside, data)
            yield aside
        finally:
            aside.unlink(missing_ok=True)

    @staticmethod
    def _create_exclusively(target: Path, data: bytes) -> bool:
        try:
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return True

    @staticmethod
    def _move_in(aside: Path, target: Path, names: Sequence[str], seal: str, replace: bool) -> None:
        """One rename makes the whole tree visible. Where something is already there, file by file, seal last."""
        try:
            os.rename(aside, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            _sync(target.parent)
            return
        # Another writer's same bytes, or what a crash left behind: replacing each file whole, rather than
        # the folder, leaves no moment at which a complete artifact is away.
        if (target / seal).exists() and not replace:
            return
        for name in (*names, seal):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside / name, target / name)
        _sync(target)

    @contextmanager
    def _explained(self, doing: str, path: str, *, missing_is_error: bool = True) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not missing_is_error:
                raise
            reason = error.strerror or str(error)
            if error.errno == errno.ENOSPC:
                reason += f" ({self.free_bytes()} bytes are free): free some space or run garbage collection"
            raise StoreError(f"{doing} {self.root / path} failed: {reason}") from error


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _copy(source: Source, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if _copy_bytes(source.local, target) != source.sha256:
        raise source.changed()
    target.chmod(_READ_ONLY)


def _copy_bytes(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(handle)
