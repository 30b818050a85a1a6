"""Your own pairs in tar shards: what is whole is read as a stream, and nothing that a tar can do leaves the root."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources import webdataset
from models.sources.rows import InRow, InvalidRow, Row
from models.sources.webdataset import read

ROW = {"task": "image_generation", "prompt": "a <b>kite</b> 凧", "preferred": 1}
ASKED = ROW | {"task": "image_understanding", "candidates": [{"text": "a dog"}, {"text": "a kite"}]}


def regular(name: str, data: bytes = b"png") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def odd(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def pair(key: str, given: Any = None, **media: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    """A run of members: the row, and media by what stands behind the key, with `_` for a dot."""
    said = given if isinstance(given, bytes) else json.dumps(ROW if given is None else given).encode()
    return [
        regular(f"{key}.json", said),
        *(regular(f"{key}.{name.strip('_').replace('_', '.')}", data) for name, data in media.items()),
    ]


def whole(key: str, given: Any = None) -> list[tuple[tarfile.TarInfo, bytes]]:
    return pair(key, given, _1_png=b"first", _2_png=b"second")


def shard(path: Path, *runs: list[tuple[tarfile.TarInfo, bytes]], **options: Any) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    with tarfile.open(path, "w", **options) as tar:
        for info, data in (member for run in runs for member in run):
            tar.addfile(info, io.BytesIO(data))
    return path


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_shards_are_read_with_their_odd_rows(tmp_path: Path) -> None:
    shard(
        tmp_path / "pairs-0.tar",
        [odd("tief", tarfile.DIRTYPE)],
        whole("tief/ü.1/a1"),
        pair(
            "./b7", ASKED | {"preferred": "tie", "id": "b"}, context_10_png=b"c", context_2_png=b"b", context_png=b"a"
        ),
        pair("v", ROW | {"task": "video_generation", "id": "b"}, _2_MP4=b"second", _1_mp4=b"first"),  # an id once more
        [regular("._v.json", b"litter")],
        whole("u", ROW | {"winner": 1}),
        pair("n", ROW, _1_png=b"first"),
        [regular("o.1.png"), regular("o.2.png")],
        whole("p", b"{"),
        whole("q", [1]),
        pair("r", ROW | {"candidates": [{"media": "/etc/passwd"}, {"media": "x.png"}]}),
        whole("s", ASKED),
        pair("t", ASKED | {"context": ["x.png"]}, context_png=b"a"),
        pair("w", ROW, _1_png=b"", _2_png=b"second"),
        whole("x", ROW | {"prompt": None}),
    )
    shard(tmp_path / "more" / "pairs-1.tar", whole("a1", ROW | {"preferred": 2}))
    shard(tmp_path / "more" / "deep" / "pairs-2.tar", whole("z"))
    good, bad = split(tmp_path)
    assert Counter(one.preferred for one in good) == {1: 2, "tie": 1}
    assert [(one.id, one.where) for one in good] == [
        ("pairs-0.tar/tief/ü.1/a1", "pairs-0.tar#1"),
        ("b", "pairs-0.tar#2"),
        ("b", "pairs-0.tar#3"),
    ]
    assert good[0].candidates == (InRow("pairs-0.tar#1/1.png", b"first"), InRow("pairs-0.tar#1/2.png", b"second"))
    assert good[0].prompt == "a <b>kite</b> 凧"
    assert good[1].candidates == ("a dog", "a kite") and good[1].task == Task.IMAGE_UNDERSTANDING
    assert [one.data for one in good[1].context if isinstance(one, InRow)] == [b"a", b"b", b"c"]
    assert good[2].candidates == (InRow("pairs-0.tar#3/1.mp4", b"first"), InRow("pairs-0.tar#3/2.mp4", b"second"))
    assert [(one.id.rpartition("/")[2], one.reason.split(", known")[0]) for one in bad] == [
        ("u", "row: unknown field winner"),
        ("n", "row: candidate 2 is missing: put it beside KEY.json, as KEY.2.png"),
        ("o", "row: KEY.json is missing"),
        ("p", "row: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("q", "row: is no object but of type list"),
        ("r", "row: a candidate names a medium: put it beside, as KEY.1.png"),
        ("s", "row: candidates stand both in KEY.json and beside it"),
        ("t", "row: context stands in KEY.json: put it beside, as KEY.context.png"),
        ("w", "row: KEY.1.png is empty"),
        ("x", "row: prompt is missing"),
    ]


def test_shards_are_found_one_folder_below_where_none_is_at_the_root(tmp_path: Path) -> None:
    shard(tmp_path / "more" / "pairs-1.tar", whole("a1", ROW | {"preferred": 2}))
    (good,), bad = split(tmp_path)
    assert bad == [] and (good.id, good.preferred) == ("more/pairs-1.tar/a1", 2)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (odd("a.2.png", tarfile.SYMTYPE, "/etc/passwd"), "2.png is a link"),
        (odd("a.2.png", tarfile.LNKTYPE, "a.1.png"), "2.png is a link"),
        (odd("a.2.png", tarfile.FIFOTYPE), "2.png is no regular file"),
        (odd("a.2.png", tarfile.CHRTYPE), "2.png is no regular file"),
        (regular("a.txt"), "one is none of KEY.json, KEY.1.png, KEY.2.png and KEY.context.png"),
        (regular("a.3.png"), "one is none of KEY.json, KEY.1.png, KEY.2.png and KEY.context.png"),
        (regular("a.1.jpg"), "1.jpg is there twice"),
        (regular("a.json"), "json is there twice"),
        (regular("a.context.png", bytes(101)), "context.png has 101 bytes, more than the limit of 100"),
    ],
)
def test_a_pair_with_a_member_that_is_refused_is_left_out_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: tuple[tarfile.TarInfo, bytes], reason: str
) -> None:
    monkeypatch.setattr(webdataset, "MAX_MEMBER_BYTES", 100)
    shard(tmp_path / "s.tar", [*pair("a", _1_png=b"first"), member], whole("b"))
    (good,), (bad,) = split(tmp_path)
    assert good.where == "s.tar#2"
    assert (bad.where, bad.id, bad.reason) == ("s.tar#1", "s.tar/a", f"member: {reason}")


@pytest.mark.parametrize("folder", ["/etc/", "../", "a/../../", "a\\b/", "a//", "./../"])
def test_a_name_that_would_leave_the_root_is_refused(tmp_path: Path, folder: str) -> None:
    shard(tmp_path / "s.tar", whole(f"{folder}x"), whole("b"))
    (good,), (bad,) = split(tmp_path)
    assert good.id == "s.tar/b"
    assert bad.reason == "member: a name that would leave its folder"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.tar"], "nothing is written"


def test_a_pair_as_a_whole_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "MAX_PAIR_BYTES", 200)
    media = {f"context_{number}_png": bytes(60) for number in range(3)}
    shard(tmp_path / "s.tar", pair("a", ASKED, **media))
    _, (bad,) = split(tmp_path)
    assert bad.reason.endswith("makes the pair larger than the limit of 200 bytes")


def test_a_shard_with_too_many_members_stops_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "MAX_MEMBERS", 5)
    shard(tmp_path / "s.tar", whole("a"), whole("b"))
    with pytest.raises(DataError, match=r"s\.tar cannot be read: it has more than 5 members"):
        list(read(tmp_path))


def test_a_shard_that_is_cut_off_or_broken_stops_the_import(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar", whole("a"), whole("b"))
    data = path.read_bytes()
    assert len(split(tmp_path)[0]) == 2
    for broken in (data[:700], data[:1536], data[: 6 * 1024], b"", b"no tar" * 200, bytes(100)):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"s\.tar cannot be read"):
            list(read(tmp_path))
    # A header that is no header: tarfile alone would take it for the end, and lose the second pair.
    path.write_bytes(data[: 6 * 512] + b"\x7f" * 512 + data[7 * 512 :])
    with pytest.raises(DataError, match=r"s\.tar cannot be read"):
        list(read(tmp_path))


def resized(data: bytes, header: int, size: bytes) -> bytes:
    """The tar with another size in one of its headers, and the checksum put right."""
    block = bytearray(data[header * 512 : (header + 1) * 512])
    block[124:136], block[148:156] = size, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return data[: header * 512] + bytes(block) + data[(header + 1) * 512 :]


@pytest.mark.parametrize("size", [b"77777777777\0", b"\x80\0\0\x7f" + b"\xff" * 8, b"\xff" * 12])
def test_a_size_that_a_header_made_up_is_noticed_at_the_end_of_the_file(tmp_path: Path, size: bytes) -> None:
    path = shard(tmp_path / "s.tar", whole("a"), whole("b"))
    path.write_bytes(resized(path.read_bytes(), 4, size))
    with pytest.raises(DataError, match=r"s\.tar cannot be read"):
        list(read(tmp_path))


def test_shards_that_were_joined_are_read_to_their_end(tmp_path: Path) -> None:
    one, two = shard(tmp_path / "1" / "s.tar", whole("a")), shard(tmp_path / "2" / "s.tar", whole("b"))
    (tmp_path / "s.tar").write_bytes(one.read_bytes() + two.read_bytes())
    assert [one.id for one in split(tmp_path)[0]] == ["s.tar/a", "s.tar/b"]


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info, data = regular("a.json", b"{}")
    info.pax_headers = {"comment": "x" * 100_000}
    shard(tmp_path / "s.tar", [(info, data)], format=tarfile.PAX_FORMAT)
    with pytest.raises(DataError, match="a header of 100"):
        list(read(tmp_path))
    long, data = regular(f"{'n' * 300}.json", b"{")
    shard(tmp_path / "s.tar", [(long, data)], format=tarfile.GNU_FORMAT)
    assert split(tmp_path)[1][0].reason.startswith("row: not JSON"), "a long name within the limit is read"


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tar shards with KEY\.json"):
        read(tmp_path)
