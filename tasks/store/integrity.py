"""Whether an artifact's files are stored as its manifest describes them."""

from models.errors import ArtifactCorrupt, ArtifactMissing
from tasks.store.artifact_types import ArtifactRef, FileEntry, Manifest
from tasks.store.objects.base import Objects, in_parallel


def verify_files(objects: Objects, manifest: Manifest, *, deep: bool = False) -> None:
    """Checks that every file is there with its size, and when `deep` that its stored bytes hash right.

    Raises `ArtifactMissing` (no artifact, or a file of it gone) or `ArtifactCorrupt`, naming the file.
    """
    ref = manifest.ref
    sizes = {found.path: found.size for found in objects.walk(f"{ref.path}/files")}
    for file in manifest.files:
        path = f"{ref.path}/files/{file.path}"
        if path not in sizes:
            raise ArtifactMissing(f"{objects.uri(path)} is gone from {ref.kind} {ref.short}")
        if sizes[path] != file.size:
            size = f"{sizes[path]} bytes, its manifest has {file.size}"
            raise ArtifactCorrupt(f"{objects.uri(path)} of {ref.kind} {ref.short} has {size}")
    if deep:
        in_parallel(lambda file: _verify_bytes(objects, ref, file), manifest.files)


def _verify_bytes(objects: Objects, ref: ArtifactRef, file: FileEntry) -> None:
    path = f"{ref.path}/files/{file.path}"
    try:
        found = objects.sha256(path, file.size)
    except FileNotFoundError as error:
        raise ArtifactMissing(f"{objects.uri(path)} is gone from {ref.kind} {ref.short}") from error
    if found != file.sha256:
        where = f"{objects.uri(path)} of {ref.kind} {ref.short}"
        raise ArtifactCorrupt(f"{where} hashes to {found}, its manifest has {file.sha256}")
