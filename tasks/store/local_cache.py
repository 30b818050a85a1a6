"""Downloaded artifacts on this machine's disk: content-addressed, shared by concurrent processes.

    <cache>/files/<kind>/<digest>/   the files of one artifact, moved into place in one rename
    <cache>/locks/<digest>.fill      held (exclusively) while downloading: the others wait, then find it there
    <cache>/locks/<digest>.use       held (shared) by every process that was handed the folder, until it ends;
                                     what is held is not evicted

The locks are flock(2)s, which the kernel releases however a process ends. Files are hashed every time they are
handed out: a byte that rotted on disk is noticed, and downloaded again.
"""

import fcntl
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from models.errors import ArtifactCorrupt, ArtifactMissing, StoreError
from tasks.store.artifact_types import ArtifactRef, FileEntry, Manifest
from tasks.store.objects.base import hash_file, in_parallel

logger = logging.getLogger(__name__)

# Downloads one file to a path and returns the sha256 of what it wrote.
Download = Callable[[FileEntry, Path], str]

# Open handles of the `.use` locks, by path: closing one would release it, so they stay until the process ends.
_in_use: dict[str, int] = {}


def default_cache_dir() -> Path:
    """$XDG_CACHE_HOME/thinkreward/artifacts, or the same under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "thinkreward" / "artifacts"


def find_damage(folder: Path, manifest: Manifest) -> StoreError | None:
    """Hashes an artifact's files in a local folder; the error that the first bad one deserves, or None."""
    what = f"{manifest.kind} {manifest.digest[:12]}"

    def complaint(file: FileEntry) -> StoreError | None:
        path = folder / file.path
        try:
            found = hash_file(path)
        except FileNotFoundError:
            return ArtifactMissing(f"{path} is gone from {what}")
        except OSError as error:
            raise StoreError(f"reading {path} failed: {error.strerror}") from error
        if found != file.sha256:
            return ArtifactCorrupt(f"{path} of {what} hashes to {found}, its manifest has {file.sha256}")
        return None

    return next((found for found in in_parallel(complaint, manifest.files) if found is not None), None)


def download_all(folder: Path, manifest: Manifest, download: Download) -> None:
    """Fills a local folder with an artifact's files. Raises `ArtifactCorrupt` for one that arrives with other bytes."""

    def download_one(file: FileEntry) -> None:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        found = download(file, target)
        if found != file.sha256:
            raise ArtifactCorrupt(
                f"{manifest.kind} {manifest.digest[:12]}: {file.path} arrived with sha256 {found}, "
                f"its manifest has {file.sha256}"
            )

    in_parallel(download_one, manifest.files)


class LocalCache:
    """Artifacts downloaded to `directory`, at most `max_bytes` of them (None: no limit) besides those in use."""

    def __init__(self, directory: Path, max_bytes: int | None = None) -> None:
        self.directory = directory
        self.max_bytes = max_bytes

    def fetch(self, manifest: Manifest, download: Download) -> Path:
        """The local folder with the artifact's verified files, downloaded unless it is there.

        Raises `ArtifactCorrupt` if what arrives does not hash to the manifest, `StoreError` when the disk is full.
        """
        ref = manifest.ref
        folder = self.directory / "files" / ref.kind / ref.digest
        try:
            self._hold(ref)
            if not self._usable(folder, manifest):
                with self._locked(f"{ref.digest}.fill"):
                    # Whoever held the lock before us was most likely downloading just this.
                    if not self._usable(folder, manifest):
                        self._fill(folder, manifest, download)
                self._evict()
            os.utime(folder)  # the time of last use, which eviction goes by
        except OSError as error:
            reason = f"{error.strerror} ({ref.size} bytes needed)"
            raise StoreError(f"caching {ref.kind} {ref.short} in {self.directory} failed: {reason}") from error
        return folder

    def _usable(self, folder: Path, manifest: Manifest) -> bool:
        if not folder.is_dir():
            return False
        damage = find_damage(folder, manifest)
        if damage is not None:
            logger.warning("Downloading a damaged cache entry again: %s", damage)
        return damage is None

    def _fill(self, folder: Path, manifest: Manifest, download: Download) -> None:
        temporary = self.directory / "tmp"
        for leftover in temporary.glob(f"{manifest.digest}-*"):  # of a killed download: we hold its lock now
            shutil.rmtree(leftover, ignore_errors=True)
        aside = temporary / f"{manifest.digest}-{uuid.uuid4().hex}"
        try:
            download_all(aside, manifest, download)
            folder.parent.mkdir(parents=True, exist_ok=True)
            if folder.exists():  # damaged: out of the way first, a folder cannot replace a folder
                os.rename(folder, temporary / f"{manifest.digest}-{uuid.uuid4().hex}")
            os.rename(aside, folder)
        finally:
            for leftover in temporary.glob(f"{manifest.digest}-*"):
                shutil.rmtree(leftover, ignore_errors=True)

    def _hold(self, ref: ArtifactRef) -> None:
        path = str(self._lock_path(f"{ref.digest}.use"))
        if path not in _in_use:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(handle, fcntl.LOCK_SH)
            if _in_use.setdefault(path, handle) != handle:  # another thread was faster
                os.close(handle)

    def _evict(self) -> None:
        """Removes what was used longest ago, and by no living process, until the rest fits in `max_bytes`."""
        if self.max_bytes is None:
            return
        sizes = {path: _bytes_below(path) for path in self.directory.glob("files/*/*")}
        excess = sum(sizes.values()) - self.max_bytes
        for folder in sorted(sizes, key=_last_used):
            if excess <= 0:
                return
            if self._remove_unused(folder):
                excess -= sizes[folder]
        if excess > 0:
            logger.warning("The cache %s is %d bytes over its limit: all of it is in use", self.directory, excess)

    def _remove_unused(self, folder: Path) -> bool:
        handle = os.open(self._lock_path(f"{folder.name}.use"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            shutil.rmtree(folder, ignore_errors=True)
            return True
        finally:
            os.close(handle)

    def _lock_path(self, name: str) -> Path:
        folder = self.directory / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        handle = os.open(self._lock_path(name), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process evicts too
            total += path.stat().st_size if path.is_file() else 0
    return total


def _last_used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
