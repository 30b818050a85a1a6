"""Fetching one submission out of the inbox: what it is, whether it may be read at all, and where its pairs are."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from models.errors import DataError, StoreError
from models.sources.archives import SUFFIXES, is_archive, is_litter, unpack
from models.sources.pair_format import LISTING
from tasks.store.artifacts import Store
from tasks.store.objects.base import Found, in_parallel, relative_path

LONGEST_NAME = 255  # bytes of one component of a path, on the usual file systems
UPLOAD_S = 24 * 3600.0  # an upload in parts that was begun longer ago counts as abandoned


class SubmissionChanged(Exception):
    """The submission changed while it was read."""


@dataclass(frozen=True)
class SubmissionLimits:
    """How large one submission may be, as it was sent and unpacked. All of its media are in memory while it is read."""

    max_bytes: int = 2 * 2**30
    max_files: int = 100_000


LIMITS = SubmissionLimits()


@dataclass(frozen=True)
class Submission:
    """A folder or file right below the inbox: its path in the store, and its files as they were listed."""

    path: str
    files: tuple[Found, ...]

    @property
    def name(self) -> str:
        """Its name in the inbox."""
        return self.path.rsplit("/", 1)[1]

    @property
    def shown(self) -> str:
        """Its name as it can be printed and written down: a file system's may be no UTF-8."""
        return self.name.encode("utf-8", "backslashreplace").decode()

    @property
    def is_file(self) -> bool:
        """Whether it is one file rather than a folder."""
        return self.files[0].path == self.path

    @property
    def is_submission(self) -> bool:
        """Whether it is a folder or an archive."""
        return not self.is_file or is_archive(self.name)

    @property
    def fingerprint(self) -> str:
        """A digest of its files' names, sizes and times of change, to find out later whether it is the same."""
        listed = [[found.path, found.size, found.modified] for found in self.files]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()

    def is_arriving(self, store: Store, now: float, quiet_s: float) -> bool:
        """Whether a file of it changed within the last `quiet_s` seconds on the storage's clock, or is being sent.

        On a file system a change is that of the inode: copying programs give files the times of their originals.
        """
        for found in self.files:
            local = store.objects.local_path(found.path)
            if now - (local.lstat().st_ctime if local is not None and local.exists() else found.modified) < quiet_s:
                return True
        begun = [one for one in store.objects.unfinished() if f"{one.path}/".startswith(f"{self.path}/")]
        return any(now - one.modified < max(quiet_s, UPLOAD_S) for one in begun)


def stem(name: str) -> str:
    """A submission's name without what makes it an archive's.

    >>> stem("kites.tar.gz"), stem("kites.v2")
    ('kites', 'kites.v2')
    """
    suffix = next((one for one in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(one)), "")
    return name[: len(name) - len(suffix)] or name


def fetch(
    store: Store, one: Submission, scratch: Path, limits: SubmissionLimits, *, leave_out: tuple[str, ...]
) -> Path:
    """Copy a submission to the empty folder `scratch`; gives the folder with its `pairs.jsonl` and what belongs to it.

    Litter and the files `leave_out` at its top are not part of it. Raises `DataError` saying why it cannot be
    used, and `SubmissionChanged`
    if it is no longer as it was listed.
    """
    size = sum(found.size for found in one.files)
    if len(one.files) > limits.max_files:
        raise DataError(f"holds {len(one.files)} files, above the limit of {limits.max_files}: split it into several")
    if size > limits.max_bytes:
        raise DataError(f"holds {size} bytes, above the limit of {limits.max_bytes}: split it into several")
    try:
        relative_path(one.name)
    except ValueError as error:
        raise DataError(str(error)) from error
    folder = scratch / "files"
    folder.mkdir()
    if one.is_file:
        archive = scratch / ("archive" + one.name[len(stem(one.name)) :].lower())
        _copy(store, one, {one.files[0]: archive})
        try:
            unpack(archive, folder, max_bytes=limits.max_bytes, max_files=limits.max_files, check=relative_path)
        except OSError as error:  # of this machine alone
            raise StoreError(
                f"unpacking {one.shown} to {folder} failed: {error.strerror}: free some space, or set TMPDIR"
            ) from error
    else:
        _copy(store, one, {found: folder / name for found, name in _within(one).items()})
    for name in leave_out:
        (folder / name).unlink(missing_ok=True)
    return find_listing(folder)


def find_listing(folder: Path) -> Path:
    """The folder with `pairs.jsonl`: this one, or the only folder in it, as archives are often made.

    Raises `DataError` saying what is there instead.
    """
    if (folder / LISTING).is_file():
        return folder
    there = sorted(folder.iterdir())
    if len(there) == 1 and (there[0] / LISTING).is_file():
        return there[0]
    found = ", ".join(repr(path.name) for path in there[:5]) or "no file"
    raise DataError(f"has no {LISTING}: one JSON object per line belongs there; it holds {found}")


def _within(one: Submission) -> dict[Found, str]:
    """The submission's files, litter aside, with their paths within it.

    Raises `DataError` for a path that leads out of it or that no file system holds: on S3 any text is a name.
    """
    names = {}
    for found in one.files:
        name = found.path.removeprefix(f"{one.path}/")
        try:
            relative_path(name)
        except ValueError as error:
            raise DataError(str(error)) from error
        if max(len(part.encode()) for part in name.split("/")) > LONGEST_NAME:
            raise DataError(f"path {name[:80]!r}… holds a name of more than {LONGEST_NAME} bytes: rename the file")
        if not is_litter(name):
            names[found] = name
    folders = {
        "/".join(parts[:at]) for name in names.values() if (parts := name.split("/")) for at in range(len(parts))
    }
    if both := sorted(folders & set(names.values())):
        raise DataError(f"{both[0]!r} is a file and a folder at once: rename one of them")
    return names


def _copy(store: Store, one: Submission, wanted: dict[Found, Path]) -> None:
    """Download files, and see that the submission was the same before and after.

    Raises `SubmissionChanged` if it was not.
    """
    links = [found.path for found in wanted if (local := store.objects.local_path(found.path)) and local.is_symlink()]
    if links:
        raise DataError(f"{links[0].removeprefix('inbox/')!r} is a link: put the file itself there")

    def download(found: Found) -> None:
        wanted[found].parent.mkdir(parents=True, exist_ok=True)
        store.objects.download(found.path, wanted[found], found.size)

    try:
        in_parallel(download, wanted)
    except FileNotFoundError as error:
        raise SubmissionChanged from error
    inbox = one.path.rsplit("/", 1)[0]
    now = store.objects.walk(inbox if one.is_file else one.path)
    if Submission(one.path, tuple(found for found in now if not one.is_file or found.path == one.path)) != one:
        raise SubmissionChanged
