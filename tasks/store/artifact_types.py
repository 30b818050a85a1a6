"""The nouns of the artifact store, the digest that addresses an artifact, and their JSON.

The digest of an artifact is the sha256 of the ASCII bytes of

    json.dumps([[path, sha256], ...], separators=(",", ":"), ensure_ascii=True)

over its files in the code-point order of `path` ('/'-separated, relative to the artifact's folder), where
`sha256` is the lower-case hex digest of the file's bytes. Kind, sizes, metadata and times are not in it:
equal files have equal digests wherever and whenever they were made.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from models.errors import ArtifactCorrupt, StoreError
from models.pairs.preference import Frozen
from tasks.store.objects.base import Source, hash_file, in_parallel, relative_path

SCHEMA_VERSION = 1

Model = TypeVar("Model", bound=BaseModel)

_HEX_64 = r"^[0-9a-f]{64}$"


class ArtifactRef(Frozen):
    """What stages pass to each other: which artifact, never its bytes. Small, JSON-serialisable and hashable."""

    kind: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", description="model, preferences, report, …")
    digest: str = Field(pattern=_HEX_64)
    size: int = Field(ge=0, description="bytes of all files together")
    n_files: int = Field(ge=1)

    @property
    def short(self) -> str:
        """The first 12 digits of the digest: enough to name it to people and to `Store.resolve`."""
        return self.digest[:12]

    @property
    def path(self) -> str:
        """Its folder below the store's root."""
        return f"artifacts/{self.kind}/{self.digest[:2]}/{self.digest}"


class FileEntry(Frozen):
    """One file of an artifact: relative path, bytes, sha256 of its bytes."""

    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=_HEX_64)

    _stays_below = field_validator("path")(relative_path)


class Manifest(Frozen):
    """What an artifact consists of. `metadata` is any JSON, and not in the digest: the first publisher's stays."""

    schema_version: int = SCHEMA_VERSION
    kind: str
    digest: str = Field(pattern=_HEX_64)
    files: tuple[FileEntry, ...] = Field(min_length=1)
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _digest_is_of_these_files(self) -> Self:
        found = digest_of(self.files)
        if found != self.digest:
            raise ValueError(f"its files hash to {found}, its digest is {self.digest}")
        return self

    @property
    def ref(self) -> ArtifactRef:
        """The reference to what this describes."""
        size = sum(file.size for file in self.files)
        return ArtifactRef(kind=self.kind, digest=self.digest, size=size, n_files=len(self.files))


def _now() -> str:
    return datetime.now(UTC).isoformat()


class IndexEntry(Frozen):
    """What one stage made for one key. NaN and infinity in the free-form fields are stored as null."""

    schema_version: int = SCHEMA_VERSION
    stage: str
    key: str
    outputs: dict[str, ArtifactRef]
    inputs: dict[str, ArtifactRef] = Field(default_factory=dict, description="lineage: what it was made from")
    config: dict[str, Any] = Field(default_factory=dict, description="the fields that are in the key")
    code_version: str = ""
    run_ids: dict[str, str] = Field(default_factory=dict, description="mlflow and prefect run ids")
    facts: dict[str, Any] = Field(default_factory=dict, description="seconds, peak_memory_mib, state, metrics, …")
    created_at: str = Field(default_factory=_now, description="ISO 8601, with its offset")

    @field_validator("created_at")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if datetime.fromisoformat(value).tzinfo is None:
            raise ValueError(f"created_at {value!r} has no offset: write it in UTC, as in {_now()!r}")
        return value

    @property
    def created(self) -> datetime:
        """`created_at` as a time that can be compared."""
        return datetime.fromisoformat(self.created_at)


def digest_of(files: Iterable[FileEntry]) -> str:
    """The digest of an artifact with these files; this module's docstring gives the formula.

    >>> digest_of([FileEntry(path="a", size=0, sha256="0" * 64)])[:12]
    '0cccf0acde40'
    """
    listing = sorted([file.path, file.sha256] for file in files)
    paths = [path for path, _ in listing]
    if len(set(paths)) != len(paths):
        raise ValueError("a path is listed twice")
    return hashlib.sha256(json.dumps(listing, separators=(",", ":"), ensure_ascii=True).encode("ascii")).hexdigest()


def read_sources(directory: Path) -> list[Source]:
    """Every file below a local folder, hashed, by path. Links to files are followed, empty folders are not stored.

    Raises `StoreError` for a folder that is missing or holds no file, and for what cannot be stored: links to
    folders, broken links, devices, and names that some storage cannot hold.
    """
    if not directory.is_dir():
        raise StoreError(f"{directory} is no folder: an artifact is a folder of files")

    def refuse(error: OSError) -> None:
        raise StoreError(f"reading {error.filename} failed: {error.strerror}") from error

    paths = []
    for folder, subfolders, names in os.walk(directory, onerror=refuse):
        links = [name for name in subfolders if Path(folder, name).is_symlink()]
        if links:
            raise StoreError(f"{Path(folder, links[0])} links to a folder: copy the files into place first")
        paths += [Path(folder, name) for name in names]
    if not paths:
        raise StoreError(f"{directory} holds no file: there is nothing to store")
    return sorted(in_parallel(lambda path: _source(directory, path), paths))


def _source(directory: Path, path: Path) -> Source:
    if not path.is_file():
        raise StoreError(f"{path} is no regular file (a broken link or a device): leave it out")
    try:
        name = relative_path(path.relative_to(directory).as_posix())
    except ValueError as error:
        raise StoreError(f"{directory}: {error}") from error
    try:
        return Source(name, path, path.stat().st_size, hash_file(path))
    except OSError as error:
        raise StoreError(f"reading {path} failed: {error.strerror}") from error


def entries_of(sources: Iterable[Source]) -> tuple[FileEntry, ...]:
    """The same files as they are written in manifests."""
    return tuple(FileEntry(path=source.name, size=source.size, sha256=source.sha256) for source in sources)


def to_json(model: BaseModel) -> bytes:
    """UTF-8 JSON of a noun. Raises `StoreError` naming the type of a value that JSON cannot hold."""
    try:
        return model.model_dump_json(indent=1).encode("utf-8")
    except ValueError as error:  # PydanticSerializationError is one
        raise StoreError(f"{type(model).__name__} cannot be written as JSON: {error}") from error


def from_json(
    model: type[Model], data: bytes, where: str, *, corrupt: type[StoreError] = ArtifactCorrupt, fix: str = ""
) -> Model:
    """A noun read back. `where` and `fix` go into the message.

    Raises `corrupt` for what does not parse, and `StoreError` for what a newer version of Thinkreward wrote.
    """
    try:
        raw = json.loads(data)
        version = raw["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise StoreError(
                f"{where} has schema version {version}, this Thinkreward reads up to {SCHEMA_VERSION}: upgrade it"
            )
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise corrupt(f"{where} is no valid {model.__name__}: {field} {first['msg']}{fix}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise corrupt(f"{where} is no valid {model.__name__}: {error!r}{fix}") from error
