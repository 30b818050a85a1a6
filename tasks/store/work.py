"""Resumable work in progress of one stage key: what a killed run leaves for the next one.

    <root>/work/<stage>/<key>/blobs/<name>                    teacher answers, sampled shards, …
    <root>/work/<stage>/<key>/trees/<name>/<generation>/...   a folder such as checkpoint-40
    <root>/work/<stage>/<key>/trees/<name>/COMPLETE.json      which generation counts, with sizes and sha256

A tree is replaced by uploading a new generation and then, in one write, pointing COMPLETE.json at it: readers
see the old tree or the new one. Only the holder of the key's lease writes here.
"""

import json
import logging
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from models.errors import ArtifactCorrupt, ArtifactMissing, StoreError
from models.pairs.preference import Frozen
from tasks.store.artifact_types import SCHEMA_VERSION, FileEntry, entries_of, from_json, read_sources, to_json
from tasks.store.objects.base import Objects, Source, hash_file, in_parallel, relative_path, segment

logger = logging.getLogger(__name__)

COMPLETE = "COMPLETE.json"


class TreeMarker(Frozen):
    """The content of COMPLETE.json."""

    schema_version: int = SCHEMA_VERSION
    generation: str = Field(pattern=r"^[0-9a-f]{32}$")
    files: tuple[FileEntry, ...] = Field(min_length=1)


class Work:
    """The work of one stage key. Names of blobs are relative paths, names of trees a single component.

    Every method raises `StoreError` when the storage fails, also where it returns None for what is not there.
    """

    def __init__(self, objects: Objects, stage: str, key: str) -> None:
        self._objects = objects
        self.path = f"work/{segment(stage, 'stage')}/{segment(key, 'key')}"

    def put_bytes(self, name: str, data: bytes) -> None:
        """Keeps `data` under `name`, in place of what was there, whole or not at all."""
        self._objects.write(self._blob(name), data)

    def get_bytes(self, name: str) -> bytes | None:
        """What was kept under `name`, or None if nothing was."""
        try:
            return self._objects.read(self._blob(name))
        except FileNotFoundError:
            return None

    def put_json(self, name: str, value: Any) -> None:
        """`put_bytes` of a JSON value. Raises `StoreError` for one that JSON cannot hold."""
        try:
            data = json.dumps(value, ensure_ascii=False).encode("utf-8")
        except (TypeError, ValueError) as error:
            raise StoreError(f"{self._objects.uri(self._blob(name))} cannot be written as JSON: {error}") from error
        self.put_bytes(name, data)

    def get_json(self, name: str) -> Any:
        """The JSON value under `name`, or None if there is none. Raises `ArtifactCorrupt` if it does not parse."""
        data = self.get_bytes(name)
        if data is None:
            return None
        try:
            return json.loads(data)
        except ValueError as error:
            where = self._objects.uri(self._blob(name))
            raise ArtifactCorrupt(f"{where} is no JSON ({error}): delete it to have it made again") from error

    def put_file(self, name: str, path: Path) -> None:
        """Keeps a copy of a local file under `name`. Raises `StoreError` if it changes meanwhile."""
        try:
            source = Source(name, path, path.stat().st_size, hash_file(path))
        except OSError as error:
            raise StoreError(f"reading {path} failed: {error.strerror}") from error
        self._objects.upload(source, self._blob(name))

    def get_file(self, name: str, path: Path) -> None:
        """Writes what was kept under `name` to a local file. Raises `FileNotFoundError` if nothing was."""
        self._objects.download(self._blob(name), path)

    def exists(self, name: str) -> bool:
        """Whether a blob or a complete tree has this name."""
        return self._objects.exists(self._blob(name)) or name in self.trees()

    def names(self, prefix: str = "") -> list[str]:
        """The names of the blobs that start with `prefix` (not of the trees), sorted."""
        start = f"{self.path}/blobs"
        names = (found.path.removeprefix(f"{start}/") for found in self._objects.walk(start))
        return sorted(name for name in names if name.startswith(prefix))

    def put_tree(self, name: str, directory: Path) -> None:
        """Keeps a copy of a local folder under `name`, in place of the one that was there, as a whole.

        Raises `StoreError`, with the tree that was there untouched.
        """
        base = self._tree(name)
        sources = read_sources(directory)
        before = self._marker_to_replace(name)
        generation = uuid.uuid4().hex
        try:
            in_parallel(lambda source: self._objects.upload(source, f"{base}/{generation}/{source.name}"), sources)
            marker = TreeMarker(generation=generation, files=entries_of(sources))
            self._objects.write(f"{base}/{COMPLETE}", to_json(marker))
        except BaseException:
            with suppress(StoreError):
                self._objects.remove_tree(f"{base}/{generation}")
            raise
        if before is not None:
            self._objects.remove_tree(f"{base}/{before.generation}")

    def get_tree(self, name: str, destination: Path) -> None:
        """Copies a complete tree to the local folder `destination`, which it replaces if it is there.

        Raises `ArtifactMissing` if there is no complete tree, `ArtifactCorrupt` naming the file that is not what
        was put; `destination` is then as it was.
        """
        aside = destination.with_name(f".{destination.name}-{uuid.uuid4().hex}")
        marker = self._marker(name)
        while marker is not None:
            try:
                self._download(name, marker, aside)
            except (ArtifactCorrupt, ArtifactMissing):
                shutil.rmtree(aside, ignore_errors=True)
                latest = self._marker(name)
                if latest == marker:
                    raise
                marker = latest  # replaced while we read it: read the new one
            except OSError as error:
                shutil.rmtree(aside, ignore_errors=True)
                raise StoreError(f"writing {destination} failed: {error.strerror}") from error
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
            else:
                _replace_folder(aside, destination)
                return
        raise ArtifactMissing(f"{self._objects.uri(self._tree(name))} holds no complete tree")

    def trees(self) -> list[str]:
        """The names of the complete trees, sorted."""
        start = f"{self.path}/trees"
        paths = [found.path.removeprefix(f"{start}/").split("/") for found in self._objects.walk(start)]
        return sorted(parts[0] for parts in paths if parts[1:] == [COMPLETE])

    def delete(self, name: str) -> None:
        """Forgets the blob and the tree of this name, if there are any."""
        self._objects.remove(self._blob(name))
        if "/" not in name:
            # The marker first: a tree is complete or not there.
            self._objects.remove(f"{self._tree(name)}/{COMPLETE}")
            self._objects.remove_tree(self._tree(name))

    def clear(self) -> None:
        """Forgets everything kept for this key."""
        for name in self.trees():
            self.delete(name)
        self._objects.remove_tree(self.path)

    def live_generations(self) -> set[str]:
        """The folders of the trees' generations that count, below the store's root; the others are leftovers."""
        markers = {name: self._marker(name) for name in self.trees()}
        return {f"{self._tree(name)}/{marker.generation}" for name, marker in markers.items() if marker is not None}

    def _download(self, name: str, marker: TreeMarker, aside: Path) -> None:
        def one(file: FileEntry) -> None:
            path = f"{self._tree(name)}/{marker.generation}/{file.path}"
            target = aside / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                found = self._objects.download(path, target, file.size)
            except FileNotFoundError as error:
                raise ArtifactMissing(f"{self._objects.uri(path)} is gone from a complete tree") from error
            if found != file.sha256:
                raise ArtifactCorrupt(f"{self._objects.uri(path)} hashes to {found}, it was put as {file.sha256}")

        in_parallel(one, marker.files)

    def _marker(self, name: str) -> TreeMarker | None:
        path = f"{self._tree(name)}/{COMPLETE}"
        try:
            data = self._objects.read(path)
        except FileNotFoundError:
            return None
        return from_json(TreeMarker, data, self._objects.uri(path), fix="; delete the tree to have it made again")

    def _marker_to_replace(self, name: str) -> TreeMarker | None:
        try:
            return self._marker(name)
        except ArtifactCorrupt as error:
            logger.warning("Replacing a damaged tree: %s", error)
            return None

    def _blob(self, name: str) -> str:
        try:
            return f"{self.path}/blobs/{relative_path(name)}"
        except ValueError as error:
            raise StoreError(f"work of {self.path}: {error}") from error

    def _tree(self, name: str) -> str:
        return f"{self.path}/trees/{segment(name, 'tree name')}"


def _replace_folder(aside: Path, destination: Path) -> None:
    """Moves `aside` to `destination`; what was there is first renamed away, then removed."""
    old = aside.with_name(f"{aside.name}-old")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            os.rename(destination, old)
        os.rename(aside, destination)
    except OSError as error:
        raise StoreError(f"moving a tree to {destination} failed: {error.strerror}") from error
    finally:
        shutil.rmtree(old, ignore_errors=True)
