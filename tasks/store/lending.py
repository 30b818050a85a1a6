"""Artifacts for programs that write into what they load.

MLflow loads a model of a local store from where it is, and writes `registered_model_meta` next to it; Python adds the
compiled modules of the code that came along. A remote store's consumers download first. So on a file system they get a
folder of their own, `lent` next to the artifact's `files`: its files are links to the artifact's, which are read-only,
or copies where the file system has no hard links. It goes when the artifact goes, and is in no manifest.
"""

import os
import shutil
import uuid
from pathlib import Path

from models.errors import StoreError
from tasks.store.artifact_types import ArtifactRef, Manifest
from tasks.store.artifacts import MANIFEST, Store
from tasks.store.local_cache import find_damage
from tasks.store.objects.base import TEMPORARY

LENT = "lent"


def lend(store: Store, ref: ArtifactRef) -> str:
    """The URI of a folder with the artifact's files that may be written to without changing the artifact.

    Made if it is not there, and again if a file of it changed or is gone. Raises `StoreError`, also for an artifact
    that is missing or damaged.
    """
    files = store.objects.local_path(f"{ref.path}/files")
    folder = store.objects.local_path(f"{ref.path}/{LENT}")
    if files is None or folder is None:
        return store.uri(ref)
    store.verify(ref)
    manifest = store.manifest(ref)
    aside = files.parents[4] / TEMPORARY / uuid.uuid4().hex
    try:
        if not folder.is_dir() or find_damage(folder, manifest) is not None:
            _fill(manifest, files, aside / "new")
            if folder.exists():  # a folder cannot replace a folder that has files
                os.rename(folder, aside / "old")
            os.rename(aside / "new", folder)
    except OSError as error:
        if not folder.is_dir() or find_damage(folder, manifest) is not None:  # else another process was faster
            raise StoreError(f"making {folder} for MLflow failed: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return store.objects.uri(f"{ref.path}/{LENT}")


def unnamed_files(store: Store, ref: ArtifactRef) -> list[str]:
    """Paths below the store's root of files within an artifact that its manifest does not name, sorted."""
    named = {f"{ref.path}/files/{file.path}" for file in store.manifest(ref).files} | {f"{ref.path}/{MANIFEST}"}
    found = (found.path for found in store.objects.walk(ref.path))
    return sorted(path for path in found if path not in named and not path.startswith(f"{ref.path}/{LENT}/"))


def _fill(manifest: Manifest, files: Path, folder: Path) -> None:
    for file in manifest.files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(files / file.path, target)
        except OSError:  # a file system without hard links
            shutil.copyfile(files / file.path, target)
