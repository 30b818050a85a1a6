"""Source `webdataset`: your own pairs in tar shards, the layout of the WebDataset library.

`*.tar`, at the root or one folder below. Each pair is a run of members of one KEY, which is the member's path up to the
first dot of its name:

    kites/a1.json            {"task": "image_generation", "prompt": "a red kite", "preferred": 1}
    kites/a1.1.png           the first candidate
    kites/a1.2.png           the second
    kites/b7.json            {"task": "image_understanding", "prompt": "What flies?", "preferred": 2,
                              "candidates": [{"text": "a dog"}, {"text": "a kite"}]}
    kites/b7.context.png     or context.0.png, context.1.png, …

The fields are those of models/sources/pair_format.py, media aside; `id` is the shard's name and the KEY where it is
missing. A video is one member, such as `a1.1.mp4`. The library (https://github.com/webdataset/webdataset, BSD-3)
fixes keys, and that a key's members stand together; the names behind the key are ours.

Shards are read as streams, uncompressed, and nothing is written. A run with a link, a device, a sparse file, a name
that would leave its folder, a member that is none of these, or one beyond the limits gives no pair, and says why. A
shard that is cut off or broken, or has more members than the limit, stops the import: rows behind the break would be
lost in silence.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import DataError
from models.sources.archives import BROKEN, is_litter
from models.sources.fields import RowError, given_id
from models.sources.listings import find
from models.sources.pair_format import candidates_of, check_fields, make_row
from models.sources.rows import InRow, InvalidRow, Medium, Row

MAX_MEMBER_BYTES = 128 << 20
MAX_PAIR_BYTES = 512 << 20
MAX_ROW_BYTES = 1 << 20
MAX_MEMBERS = 1_000_000
MAX_HEADER_BYTES = 64 << 10  # of a long name or of extended attributes, which tarfile holds in memory
_BLOCK = 512
_READ_BYTES = 256 << 10
_EMPTY_READS = 16
_MEDIUM = re.compile(r"(1|2|context(?:\.[0-9]{1,4})?)(\.[A-Za-z0-9]{1,8})")
_LONG = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


@dataclass
class _Run:
    """The members of one key; `problem` says why they give no pair."""

    key: str
    problem: str = ""
    row: bytes | None = None
    media: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # suffix and bytes by slot
    bytes: int = 0

    def add(self, tar: tarfile.TarFile, info: tarfile.TarInfo, name: str) -> None:
        """Read one more member, unless something is wrong with it or with one before."""
        self.problem = self.problem or self._objection(info, name)
        if self.problem:
            return
        opened = tar.extractfile(info)
        assert opened is not None
        data = opened.read()
        self.bytes += len(data)
        if (kind := name.removeprefix(f"{self.key}.")) == "json":
            self.row = data
        else:
            slot, suffix = _of(kind)
            self.media[slot] = (suffix.lower(), data)

    def _objection(self, info: tarfile.TarInfo, name: str) -> str:
        kind = name.removeprefix(f"{self.key}.")
        shown = kind if kind == "json" or _MEDIUM.fullmatch(kind) else "one"  # reasons are counted, names are many
        limit = MAX_ROW_BYTES if kind == "json" else MAX_MEMBER_BYTES
        if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
            return "a name that would leave its folder"
        if not info.isreg() or info.issparse():
            return f"{shown} is {'a link' if info.issym() or info.islnk() else 'no regular file'}"
        if kind != "json" and not _MEDIUM.fullmatch(kind):
            return "one is none of KEY.json, KEY.1.png, KEY.2.png and KEY.context.png"
        if (kind == "json" and self.row is not None) or (kind != "json" and _of(kind)[0] in self.media):
            return f"{shown} is there twice"
        if info.size > limit:
            return f"{shown} has {info.size} bytes, more than the limit of {limit}"
        if self.bytes + info.size > MAX_PAIR_BYTES:
            return f"{shown} makes the pair larger than the limit of {MAX_PAIR_BYTES} bytes"
        return ""


class _Header(tarfile.TarInfo):
    """A header that refuses what tarfile would pass over in silence, or read into memory at any size."""

    @classmethod
    def frombuf(cls, buf: "bytes | bytearray", encoding: str, errors: str) -> "_Header":
        try:
            made = super().frombuf(buf, encoding, errors)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise DataError(str(error)) from error
        if made.size < 0 or (made.type in _LONG and made.size > MAX_HEADER_BYTES):
            raise DataError(f"a header of {made.size} bytes, which is not within the limit of {MAX_HEADER_BYTES}")
        return made


class _Shard(io.FileIO):
    """A shard that cannot be read on and on past its end, as tarfile does for a size that a header made up."""

    _empty = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size) or b""
        self._empty += not data
        if self._empty > _EMPTY_READS:
            raise DataError("it is shorter than its headers say")
        return data


def read(root: Path) -> Iterator[Row | InvalidRow]:
    """The pairs in the order of the shards. Raises `DataError` where there are none, or for a broken one."""
    return _rows(root, find(root, "*.tar", "*/*.tar", layout="tar shards with KEY.json, KEY.1.png and KEY.2.png"))


def _rows(root: Path, shards: list[Path]) -> Iterator[Row | InvalidRow]:
    for shard in shards:
        name = shard.relative_to(root).as_posix()
        for number, run in enumerate(_runs(shard), start=1):
            where = f"{name}#{number}"
            given: dict[str, Any] = {"id": f"{name}/{run.key}".encode(errors="replace").decode()}
            try:
                given |= _given(run)
                yield _made(where, run, given)
            except RowError as error:
                yield InvalidRow(where, given_id(given), str(error))


def _runs(shard: Path) -> Iterator[_Run]:
    """The runs of members of one key. Raises `DataError` that names the shard."""
    try:
        with _Shard(shard) as opened:
            opened.seek(-min(_BLOCK, shard.stat().st_size), 2)
            if opened.read() != bytes(_BLOCK):
                raise DataError("it does not end as a tar does")
            opened.seek(0)
            # Zeros are passed over, since shards are sometimes made by joining others.
            with tarfile.open(
                fileobj=opened, mode="r|", bufsize=_READ_BYTES, tarinfo=_Header, ignore_zeros=True
            ) as tar:
                yield from _grouped(tar)
    except DataError as error:
        raise DataError(f"{shard} cannot be read: {error}. Is it whole? Make the shard again") from error
    except (*BROKEN, OSError) as error:
        raise DataError(f"{shard} cannot be read: {error}. Is it whole? Make the shard again") from error


def _grouped(tar: tarfile.TarFile) -> Iterator[_Run]:
    run: _Run | None = None
    count = 0
    while (info := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # which would grow with the shard
        count += 1
        if count > MAX_MEMBERS:
            raise DataError(f"it has more than {MAX_MEMBERS} members, the limit: split it into several")
        name = info.name.removeprefix("./")
        if info.isdir() or (".." not in name.split("/") and is_litter(name)):
            continue
        folder, slash, base = name.rpartition("/")
        key = f"{folder}{slash}{base.partition('.')[0]}"
        if run is None or run.key != key:
            if run is not None:
                yield run
            run = _Run(key)
        run.add(tar, info, name)
    if run is not None:
        yield run


def _given(run: _Run) -> dict[str, Any]:
    """The row that a run holds, without the fields that say nothing."""
    if run.problem:
        raise RowError(f"member: {run.problem}")
    if run.row is None:
        raise RowError("row: KEY.json is missing")
    try:
        row = json.loads(run.row)
    except (ValueError, RecursionError) as error:
        raise RowError(f"row: not JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(row, dict):
        raise RowError(f"row: is no object but of type {type(row).__name__}")
    return {name: value for name, value in row.items() if value is not None}


def _made(where: str, run: _Run, given: dict[str, Any]) -> Row:
    check_fields(given)
    if "context" in given:
        raise RowError("row: context stands in KEY.json: put it beside, as KEY.context.png")
    context = sorted((slot for slot in run.media if slot.startswith("context")), key=_place)
    shown = tuple(_medium(where, run, slot) for slot in context)
    if not {"1", "2"} & run.media.keys():
        texts = candidates_of(where, given)
        if not all(isinstance(one, str) for one in texts):
            raise RowError("row: a candidate names a medium: put it beside, as KEY.1.png")
        return make_row(where, given, texts, shown)
    for slot in ("1", "2"):
        if slot not in run.media:
            raise RowError(f"row: candidate {slot} is missing: put it beside KEY.json, as KEY.{slot}.png")
    if "candidates" in given:
        raise RowError("row: candidates stand both in KEY.json and beside it")
    return make_row(where, given, (_medium(where, run, "1"), _medium(where, run, "2")), shown)


def _of(kind: str) -> tuple[str, str]:
    """`1.png` as slot and suffix."""
    slot, dot, suffix = kind.rpartition(".")
    return slot, dot + suffix


def _place(slot: str) -> int:
    return int(slot.partition(".")[2] or -1)


def _medium(where: str, run: _Run, slot: str) -> Medium:
    suffix, data = run.media[slot]
    if not data:
        raise RowError(f"row: KEY.{slot}{suffix} is empty")
    return InRow(f"{where}/{slot}{suffix}", data)
