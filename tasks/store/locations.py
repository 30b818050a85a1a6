"""Where a published data set is: a local folder, a prefix in S3, or a repository of the Hugging Face Hub.

`local_folder` brings its files here, once; `fingerprint_of` shows whether they have changed without bringing them.
`model_digest` is of a model's bytes.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from models.errors import DataError, HubUnreachable
from tasks.store.artifact_types import FileEntry, digest_of
from tasks.store.objects.base import Found, hash_file, in_parallel
from tasks.store.objects.opening import open_objects
from tasks.store.remembering import remembered

HUB = "hf://datasets/"
HASHED_BYTES = 64 * 2**20  # larger files of a local source are distinguished by size and time of change


def fingerprint_of(place: str) -> str:
    """sha256 over names and contents of a folder's files, or over what a remote place lists of its own.

    In S3 that is name, size and time of change; on the hub the commit. Raises `DataError` for a place that is not
    there.
    """
    if place.startswith("s3://"):
        lines = "\n".join(f"{one.path} {one.size} {one.modified}" for one in _listed(place))
        return hashlib.sha256(lines.encode()).hexdigest()
    if place.startswith(HUB):
        return _commit(place)
    return fingerprint(_folder(place))


def fingerprint(folder: Path) -> str:
    """sha256 over the names and contents of a data set's files, but for what is written for people (`*.md`).

    Files above 64 MiB are distinguished by size and time of change, since data sets may be too large to be read on each
    look: a video that is replaced by another one of its size, with its time of change set back, is not noticed. What
    judges or is trained is identified by its bytes alone (`model_digest`). Of a link it also counts where it leads,
    since one out of the folder is refused whatever is there, and of a file whether it may be read.
    """

    def lines() -> Iterator[str]:
        root = folder.resolve()
        for path in sorted(path for path in folder.rglob("*") if path.suffix != ".md"):
            link = f" {_target(path, root)}" if path.is_symlink() else ""
            if path.is_file():
                yield f"{path.relative_to(folder)} {_content(path)}{link}"
            elif link:
                yield f"{path.relative_to(folder)}{link}"

    return hashlib.sha256("\n".join(lines()).encode()).hexdigest()


def _target(link: Path, root: Path) -> str:
    """Where a link leads below the root, or that it leads out of it."""
    try:
        return f"-> {link.resolve().relative_to(root)}"
    except (OSError, RuntimeError, ValueError):
        return "-> outside"


def _content(path: Path) -> str:
    """What tells a file's content: its sha256, or where it is large its size and time of change."""
    if not os.access(path, os.R_OK):
        return "unreadable"
    status = path.stat()
    if status.st_size > HASHED_BYTES:
        return f"{status.st_size} {status.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listed(place: str) -> dict[str, tuple[int, int]]:
    """Size and time of change of each file of a local folder, links not followed; nothing of a remote place.

    A quick listing, to find out whether a folder has changed while it was read. A folder that is gone holds nothing.
    """
    found: dict[str, tuple[int, int]] = {}
    if place.startswith(("s3://", HUB)):
        return found
    folder = Path(place.removeprefix("file://"))
    for path in folder.rglob("*"):
        with suppress(OSError):
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) and path.suffix != ".md":
                found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns)
    return found


def model_digest(folder: Path, cache_dir: Path) -> str:
    """The digest that a model's folder has, or would have, as an artifact: of the bytes of its files.

    Hidden files and those written for people (`*.md`) count for nothing, as when it is published. The digests of large
    files are remembered below `cache_dir`, see `remembered`.
    """

    def entry(path: Path) -> FileEntry:
        size = path.stat().st_size
        sha256 = hash_file(path) if size <= HASHED_BYTES else _sha256(path, cache_dir / "digests")
        return FileEntry(path=path.relative_to(folder).as_posix(), size=size, sha256=sha256)

    shown = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
    return digest_of(entry(one) for one in shown if not any(p.startswith(".") for p in one.relative_to(folder).parts))


def _sha256(path: Path, memory: Path) -> str:
    kept = memory / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.json"
    return str(remembered((path,), kept, lambda: hash_file(path)))


def local_folder(place: str, cache_dir: Path) -> Path:
    """A folder with the files of `place`; those of a remote one are kept below `cache_dir` and come only once."""
    if place.startswith("s3://"):
        return _from_s3(place, cache_dir / "sources" / hashlib.sha256(place.encode()).hexdigest()[:16])
    if place.startswith(HUB):
        return _from_hub(place, cache_dir / "sources" / hashlib.sha256(place.encode()).hexdigest()[:16])
    return _folder(place)


def _folder(place: str) -> Path:
    folder = Path(place.removeprefix("file://"))
    if not folder.is_dir():
        raise DataError(f"{place} is no folder: give a folder, s3://bucket/prefix or {HUB}OWNER/NAME")
    return folder


def _listed(place: str) -> list[Found]:
    found = open_objects(place).walk("")
    if not found:
        raise DataError(f"there is nothing below {place}: correct the path, or copy the data set there")
    return found


def _from_s3(place: str, folder: Path) -> Path:
    """Each file is as new as the one in S3, which tells it apart from an older one of the same size."""
    objects = open_objects(place)

    def bring(one: Found) -> None:
        local = folder / one.path
        if not local.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{place}/{one.path} would lie outside its folder: rename it")
        if local.is_file() and (local.stat().st_size, local.stat().st_mtime) == (one.size, one.modified):
            return
        local.parent.mkdir(parents=True, exist_ok=True)
        aside = local.with_name(f".{local.name}.{os.getpid()}")
        objects.download(one.path, aside, one.size)
        os.utime(aside, (one.modified, one.modified))
        aside.replace(local)

    there = _listed(place)
    in_parallel(bring, there)
    wanted = {folder / one.path for one in there}
    for stale in [path for path in folder.rglob("*") if path.is_file() and path not in wanted]:
        stale.unlink(missing_ok=True)
    return folder


def _repository(place: str) -> tuple[str, str | None]:
    name, _, revision = place.removeprefix(HUB).partition("@")
    if name.count("/") != 1 or not all(name.split("/")):
        raise DataError(f"{place!r} names no data set of the hub: give {HUB}OWNER/NAME, or {HUB}OWNER/NAME@COMMIT")
    return name, revision or None


def _commit(place: str) -> str:
    from huggingface_hub import HfApi

    name, revision = _repository(place)
    try:
        return str(HfApi().dataset_info(name, revision=revision).sha)
    except Exception as error:
        raise _hub_error(place, error) from error


def _from_hub(place: str, folder: Path) -> Path:
    """Through the hub's own client, which `datasets` uses as well: media are next to many of the listings.

    Into a folder of its own, since the client's cache is made of links, and links out of a data set are refused.
    """
    from huggingface_hub import snapshot_download

    name, revision = _repository(place)
    try:
        return Path(snapshot_download(name, repo_type="dataset", revision=revision, local_dir=folder))
    except Exception as error:
        raise _hub_error(place, error) from error


def _hub_error(place: str, error: Exception) -> Exception:
    status = getattr(getattr(error, "response", None), "status_code", 503)
    if status >= 500 or status == 429:
        return HubUnreachable(f"the hub does not answer for {place}: {error}")
    return DataError(
        f"{place} could not be had from the hub ({status}): see that it exists, and set HF_TOKEN if it is gated"
    )
