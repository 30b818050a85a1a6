"""Unpacking an archive that somebody else made: nothing leaves the folder, and nothing grows beyond the limits.

Zip, tar and gzipped tar. Members are written one by one under names that were checked, never by `extractall`; links
and devices are refused; bytes are counted as they are written, whatever the archive says about itself.

Python's own protection was tried on the archives of the tests and is not enough here. `tarfile.data_filter` refuses
devices and what leads out, but writes `/out` as `out`, links within the folder, a name that is there twice and any
number of bytes; `zipfile` writes `../out` as `out`. A submission that is not what its sender meant is refused here.
"""

import errno
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from models.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
CHUNK_BYTES = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
# What zipfile, tarfile and the decompressors raise on broken or unsupported archives, besides OSError.
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
)


class _Member(NamedTuple):
    """One file of an archive: its name as written there, and how its bytes are read."""

    name: str
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Whether a file of this name is one that `unpack` reads."""
    return name.lower().endswith(SUFFIXES)


def is_litter(name: str) -> bool:
    """Whether a path holds what systems leave behind: a component with a dot in front, or `__MACOSX`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def unpack(archive: Path, folder: Path, *, max_bytes: int, max_files: int, check: Callable[[str], str]) -> None:
    """Write an archive's files below `folder`, which is there and empty; litter is left out.

    `check` gives a member's name back or raises `ValueError` for one that does not stay below its folder. Raises
    `DataError` that says what is wrong; a full disk here is not the archive's fault and raises `OSError`.
    """
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                _write(_of_zip(opened), folder, max_bytes, max_files, check)
        elif archive.name.lower().endswith(".tar"):
            with tarfile.open(archive, "r:") as tar:
                _write(_of_tar(tar), folder, max_bytes, max_files, check)
        else:
            plain = archive.with_name("unzipped.tar")
            # First as a whole: a header within a compressed tar may unfold to any size in memory.
            with gzip.open(archive) as packed:
                _copy(packed, plain, max_bytes)
            unpack(plain, folder, max_bytes=max_bytes, max_files=max_files, check=check)
    except DataError:
        raise
    except BROKEN as error:
        raise DataError(f"cannot be unpacked: {error}. Is it whole? Make the archive again") from error
    except OSError as error:
        if error.errno in FULL:
            raise
        raise DataError(f"cannot be unpacked: {error.strerror or error}. Make the archive again") from error


def _of_zip(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        if info.is_dir():
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{info.filename!r} is a link: put the file itself into the archive")
        if info.flag_bits & 1:
            raise DataError(f"{info.filename!r} is encrypted: make the archive without a password")
        # Some Windows programs write backslashes, against the format.
        yield _Member(info.filename.replace("\\", "/"), lambda info=info: opened.open(info))  # type: ignore[misc]


def _of_tar(opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened:
        if info.isdir():
            continue
        if not info.isreg():
            kind = "a link" if info.issym() or info.islnk() else "no regular file"
            raise DataError(f"{info.name!r} is {kind}: put the file itself into the archive")
        yield _Member(info.name, lambda info=info: _opened(opened, info))  # type: ignore[misc]


def _opened(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    found = tar.extractfile(info)
    if found is None:
        raise DataError(f"{info.name!r} cannot be read: make the archive again")
    return found


def _write(
    members: Iterator[_Member], folder: Path, max_bytes: int, max_files: int, check: Callable[[str], str]
) -> None:
    left = max_bytes
    for number, member in enumerate(members, start=1):
        if number > max_files:
            raise DataError(f"holds more than {max_files} files, the limit: split it into several")
        try:
            name = check(member.name.removeprefix("./"))
        except ValueError as error:
            raise DataError(f"holds a file that would lie outside its folder: {error}") from error
        if is_litter(name):
            continue
        target = folder / name
        if target.exists():
            raise DataError(f"holds {name!r} twice: leave one of them out")
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source:
            left -= _copy(source, target, left)


def _copy(source: IO[bytes] | gzip.GzipFile, target: Path, most: int) -> int:
    """Copy to a new file; gives the bytes. Raises `DataError` beyond `most` of them."""
    written = 0
    with target.open("xb") as writer:
        while chunk := source.read(CHUNK_BYTES):
            written += len(chunk)
            if written > most:
                raise DataError("unpacks to more bytes than the limit: split it into several")
            writer.write(chunk)
    return written
