"""The artifact store: the only door to storage, and the truth about what every stage made.

    <root>/artifacts/<kind>/<dd>/<digest>/files/...        the bytes, content-addressed (artifact_types.digest_of)
    <root>/artifacts/<kind>/<dd>/<digest>/MANIFEST.json    written last, create-only: without it nothing is there
    <root>/artifacts/<kind>/<dd>/<digest>/lent/...         links for programs that write beside what they load
    <root>/index/<stage>/<key>.json                        what a stage made for a key, and from what
    <root>/work/<stage>/<key>/...                          resumable work in progress (tasks/store/work.py)
    <root>/leases/<stage>/<key>/...                        which run computes a key (tasks/store/leases.py)
    <root>/tmp/...                                         what is being written (file systems only)

A stage asks like this, and never trusts what it has not verified:

    with store.lease(stage, key, owner=run_name) as lease:
        entry = store.lookup(stage, key)      # None only when there is none
        ...                                   # store.verify(entry.outputs["model"]), or compute and store.publish
        lease.check()
        store.record(entry)

Collecting garbage, verifying a whole store, lineage and copying are in tasks/store/maintenance.py.
"""

import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactUnknown,
    StoreError,
)
from tasks.store.artifact_types import (
    SCHEMA_VERSION,
    ArtifactRef,
    FileEntry,
    IndexEntry,
    Manifest,
    digest_of,
    entries_of,
    from_json,
    read_sources,
    to_json,
)
from tasks.store.index import Index
from tasks.store.integrity import verify_files
from tasks.store.leases import Lease, hold_lease
from tasks.store.local_cache import LocalCache, default_cache_dir, download_all, find_damage
from tasks.store.objects.base import Source, in_parallel, segment
from tasks.store.objects.opening import open_objects
from tasks.store.objects.probe import check_writable, storage_time
from tasks.store.work import Work

__all__ = [
    "SCHEMA_VERSION",
    "ArtifactRef",
    "FileEntry",
    "IndexEntry",
    "Lease",
    "Manifest",
    "Store",
    "Work",
    "digest_of",
]

logger = logging.getLogger(__name__)

MANIFEST = "MANIFEST.json"


class Store(Index):
    """Artifacts, the index (`tasks/store/index.py`), work in progress and leases below one root.

    `root` is a plain path, `file:///path` or `s3://bucket/prefix`; nothing is touched until it is used.
    `cache_dir` (for remote roots; default ~/.cache/thinkreward/artifacts) and `cache_max_bytes` bound where
    and how much is downloaded; `checksums` is that of `open_objects`. Safe to share between threads. Methods raise
    `StoreError` and its subclasses.
    """

    def __init__(
        self, root: str, *, cache_dir: Path | None = None, cache_max_bytes: int | None = None, checksums: str = ""
    ) -> None:
        self.root = root
        self.objects = open_objects(root, checksums)
        self._cache = LocalCache(cache_dir or default_cache_dir(), cache_max_bytes)

    def check_writable(self) -> None:
        """Raises `StoreNotWritable` or `StoreUnreachable` with the address and what to do, before any work starts."""
        check_writable(self.objects)

    def now(self) -> float:
        """The storage's idea of now, which its times of change are to be compared with (Unix seconds)."""
        return storage_time(self.objects)

    def publish(self, kind: str, directory: Path, *, metadata: dict[str, Any] | None = None) -> ArtifactRef:
        """Stores a copy of a local folder's files as one artifact. Idempotent: equal files, equal reference.

        An artifact that is there is read in full first, and stored again if it is damaged; its metadata stays.
        Raises `StoreError` naming the address and the bytes needed; nothing is then visible.
        """
        segment(kind, "kind")
        sources = read_sources(directory)
        files = entries_of(sources)
        try:
            manifest = Manifest(kind=kind, digest=digest_of(files), files=files, metadata=metadata or {})
        except ValidationError as error:
            raise StoreError(f"publishing {directory} as {kind} failed: {error}") from error
        damage = self._damage(manifest.ref)
        if damage is None:
            self._keep_from_gc(manifest.ref)
            return manifest.ref
        if not isinstance(damage, ArtifactMissing):
            logger.warning("Storing %s %s again: %s", kind, manifest.ref.short, damage)
        self._add(directory, sources, manifest, replace=not isinstance(damage, ArtifactMissing))
        return manifest.ref

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """What the artifact consists of. Raises `ArtifactMissing`, or `ArtifactCorrupt` if it is not `ref`'s."""
        manifest = self._manifest_at(ref.kind, ref.digest)
        if manifest.ref != ref:
            raise ArtifactCorrupt(f"{self.objects.uri(ref.path)} holds {manifest.ref!r}, not {ref!r}")
        return manifest

    def verify(self, ref: ArtifactRef, *, deep: bool = False) -> None:
        """Checks that every file is there with its size, and when `deep` that its stored bytes hash right.

        Raises `ArtifactMissing` (no artifact, or a file of it gone) or `ArtifactCorrupt`, naming the file.
        """
        verify_files(self.objects, self.manifest(ref), deep=deep)

    def fetch(self, ref: ArtifactRef) -> Path:
        """A local folder with the artifact's files, each hashed before this returns. Treat it as read-only.

        On a file system that is the stored folder itself, else a download in the cache that stays as long as
        this process lives. Raises `ArtifactMissing` or `ArtifactCorrupt`, naming the file.
        """
        manifest = self.manifest(ref)
        folder = self.objects.local_path(f"{ref.path}/files")
        if folder is None:
            return self._cache.fetch(manifest, lambda file, target: self._download(ref, file, target))
        damage = find_damage(folder, manifest)
        if damage is not None:
            raise type(damage)(f"{damage}: `thinkreward artifacts verify --drop` has it rebuilt")
        return folder

    @contextmanager
    def borrow(self, ref: ArtifactRef) -> Iterator[Path]:
        """As `fetch`, for one pass over the files: a download is removed after the `with` block, and not cached."""
        if self.objects.local_path(ref.path) is not None:
            yield self.fetch(ref)
            return
        manifest = self.manifest(ref)
        with tempfile.TemporaryDirectory(prefix="thinkreward-") as folder:
            download_all(Path(folder), manifest, lambda file, target: self._download(ref, file, target))
            yield Path(folder)

    def uri(self, ref: ArtifactRef) -> str:
        """The absolute URI of the folder with its files (percent-encoded for file://)."""
        return self.objects.uri(f"{ref.path}/files")

    def drop(self, kind: str, digest: str) -> None:
        """Removes an artifact, first its manifest, so that nobody sees half of it; who needs it makes it again."""
        path = _folder(segment(kind, "kind"), digest)
        self.objects.remove(f"{path}/{MANIFEST}")
        self.objects.remove_tree(path)

    def artifacts(self, kind: str | None = None) -> list[ArtifactRef]:
        """Every complete artifact, by kind and digest. Unreadable ones are logged; `verify_store` reports them."""

        def ref_at(address: tuple[str, str]) -> ArtifactRef | None:
            try:
                return self.reference(*address)
            except ArtifactMissing:
                return None  # being stored, or being removed
            except ArtifactCorrupt as error:
                logger.warning("Not in the list: %s", error)
                return None

        return [ref for ref in in_parallel(ref_at, self.addresses(kind)) if ref is not None]

    def addresses(self, kind: str | None = None) -> list[tuple[str, str]]:
        """(kind, digest) of everything below artifacts/, complete or not, sorted; also of what was just removed."""
        kinds = [segment(kind, "kind")] if kind is not None else self.objects.folders("artifacts")
        folders = [f"artifacts/{name}/{dd}" for name in kinds for dd in self.objects.folders(f"artifacts/{name}")]
        listed = in_parallel(self.objects.folders, folders)
        pairs = zip(folders, listed, strict=True)
        return [(folder.split("/")[1], digest) for folder, digests in pairs for digest in digests]

    def reference(self, kind: str, digest: str) -> ArtifactRef:
        """The reference to a complete artifact at this address. Raises `ArtifactMissing` or `ArtifactCorrupt`."""
        return self._manifest_at(kind, digest).ref

    def resolve(self, prefix: str) -> ArtifactRef:
        """The artifact whose digest starts with `prefix` (or 'kind/prefix'). `ArtifactUnknown` if none or several."""
        kind, _, start = prefix.rpartition("/")
        if not start or set(start) - set("0123456789abcdef"):
            raise ArtifactUnknown(f"artifact {prefix!r}: give the first digits of its digest, or kind/digits")
        addresses = [(k, d) for k, d in self.addresses() if d.startswith(start) and kind in ("", k)]
        matches = [(k, d) for k, d in addresses if self.objects.exists(f"{_folder(k, d)}/{MANIFEST}")]
        if len(matches) > 1:
            named = ", ".join(f"{k}/{d[:12]}" for k, d in matches[:5])
            raise ArtifactUnknown(f"artifact {prefix!r} is ambiguous ({len(matches)} match: {named}): give more of it")
        if not matches:
            raise ArtifactUnknown(f"no artifact in {self.objects.uri('')} starts with {prefix!r}")
        return self.reference(*matches[0])

    def work(self, stage: str, key: str) -> Work:
        """The resumable work in progress of a stage key."""
        return Work(self.objects, stage, key)

    def lease(
        self,
        stage: str,
        key: str,
        *,
        owner: str,
        ttl_s: float = 60,
        poll_s: float = 1.0,
        on_wait: Callable[[str], None] | None = None,
        refs: Iterable[ArtifactRef] = (),
    ) -> AbstractContextManager[Lease]:
        """Holds the stage key through a `with` block, after waiting for whoever holds it now.

        A holder without a heartbeat for its `ttl_s` seconds, or whose process ended on this machine, is taken over
        from. `poll_s` is the pause between looks; `on_wait` receives a text that names the holder (default: logged);
        `refs` are kept by gc meanwhile. Call `Lease.check` before recording results. Not re-entrant.
        """
        segment(stage, "stage")
        segment(key, "key")
        digests = tuple(ref.digest for ref in refs)
        return hold_lease(
            self.objects, stage, key, owner=owner, ttl_s=ttl_s, poll_s=poll_s, on_wait=on_wait, refs=digests
        )

    def _add(self, directory: Path, sources: list[Source], manifest: Manifest, *, replace: bool) -> None:
        ref = manifest.ref
        where = self.objects.uri(ref.path)
        needed = f"{directory} as {ref.kind} to {where} ({ref.n_files} files, {ref.size} bytes needed"
        free = self.objects.free_bytes()
        if free is not None and free < ref.size:
            raise StoreError(f"publishing {needed}, {free} free) is refused: {os.strerror(errno.ENOSPC)}")
        placed = [source._replace(name=f"files/{source.name}") for source in sources]
        try:
            self.objects.add_tree(ref.path, placed, MANIFEST, to_json(manifest), replace=replace)
        except StoreError as error:
            raise type(error)(f"publishing {needed}) failed, nothing was published: {error}") from error

    def _damage(self, ref: ArtifactRef) -> StoreError | None:
        """Why the stored artifact cannot be used as it is; `ArtifactMissing` itself when none was published."""
        try:
            self.verify(ref, deep=True)
        except ArtifactMissing as error:
            published = self.objects.exists(f"{ref.path}/{MANIFEST}")
            return ArtifactCorrupt(str(error)) if published else error
        except ArtifactCorrupt as error:
            return error
        return None

    def _keep_from_gc(self, ref: ArtifactRef) -> None:
        """Makes a reused artifact young again, so that gc leaves the publisher its grace to record it."""
        path = f"{ref.path}/{MANIFEST}"
        with suppress(FileNotFoundError):
            self.objects.write(path, self.objects.read(path))

    def _download(self, ref: ArtifactRef, file: FileEntry, target: Path) -> str:
        path = f"{ref.path}/files/{file.path}"
        try:
            return self.objects.download(path, target, file.size)
        except FileNotFoundError as error:
            raise ArtifactMissing(f"{self.objects.uri(path)} is gone from {ref.kind} {ref.short}") from error

    def _manifest_at(self, kind: str, digest: str) -> Manifest:
        path = f"{_folder(kind, digest)}/{MANIFEST}"
        where = self.objects.uri(path)
        try:
            manifest = from_json(Manifest, self.objects.read(path), where)
        except FileNotFoundError as error:
            raise ArtifactMissing(
                f"{kind} {digest[:12]} is not in the store ({where} is not there): it has to be made again"
            ) from error
        if (manifest.kind, manifest.digest) != (kind, digest):
            raise ArtifactCorrupt(f"{where} describes {manifest.kind} {manifest.digest}")
        return manifest


def _folder(kind: str, digest: str) -> str:
    return f"artifacts/{kind}/{digest[:2]}/{digest}"
