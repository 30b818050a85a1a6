"""Importing rows: media looked at, invalid rows named, shards resumed, memory bounded."""

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from models.errors import DataError, MediaError
from models.media.decoding import Decoders
from models.pairs.media_files import MediaFiles
from models.pairs.preference import Preferred, Task
from models.sources import importing, lookahead
from models.sources.imported import ImportedShard, read_imported, read_invalid, statistics
from models.sources.importing import ImportJob
from models.sources.probing import ProbeRequest, ProbeResult, probe
from models.sources.rows import Frames, InFile, InRow, InvalidRow, Read, Row


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(1, 30.0) as pool:
        yield pool


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((16, 16)).point(lambda level: (level + shade * 40) % 256).save(buffer, "PNG")
    return buffer.getvalue()


def row(number: int, preferred: Preferred = 1, **changes: object) -> Row:
    given = {
        "where": f"data.json#{number}",
        "id": f"r{number}",
        "task": Task.IMAGE_GENERATION,
        "prompt": f"picture {number}",
        "candidates": (InFile("a.png"), InFile("b.png")),
        "preferred": preferred,
    }
    return Row(**{**given, **changes})  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for name, shade in (("a.png", 0), ("b.png", 1), ("c.png", 2)):
        (folder / name).write_bytes(picture(shade))
    return folder


def reader(*rows: Row | InvalidRow) -> Read:
    return lambda root: iter(rows)


def imported(read: Read, root: Path, decoders: Decoders, **changes: object) -> Path:
    into = root.parent / "imported"
    into.mkdir(exist_ok=True)
    given = {"source": "test", "decoders": decoders, "max_bad_share": 0.5, "max_media_bytes": 1 << 20, **changes}
    ImportJob(read, root, into, **given).run()  # type: ignore[arg-type]
    return into


def test_pairs_are_stored_with_their_media_by_digest(root: Path, decoders: Decoders) -> None:
    folder = imported(reader(row(1), row(2, candidates=(InFile("b.png"), InFile("c.png")))), root, decoders)
    pairs = [one.pair for one in read_imported(folder)]
    assert [pair.id for pair in pairs] == ["r1", "r2"]
    media = dict(MediaFiles(folder))
    assert len(media) == 3  # b.png is in two pairs and stored once
    assert media[pairs[0].media()[0].uri] in ((root / "a.png").read_bytes(), (root / "b.png").read_bytes())


def test_the_better_candidate_is_not_always_first(root: Path, decoders: Decoders) -> None:
    folder = imported(reader(*(row(number) for number in range(40))), root, decoders)
    found = [one.pair.preferred for one in read_imported(folder)]
    assert 8 < found.count(1) < 32
    assert statistics(folder)["labels"] == {"1": 40}  # as published


def test_reasoning_keeps_the_order_that_it_speaks_of(root: Path, decoders: Decoders) -> None:
    rows = [row(number, reasoning="a verdict") for number in range(20)]
    folder = imported(reader(*rows), root, decoders)
    assert {one.pair.preferred for one in read_imported(folder)} == {1}
    assert {one.reasoning for one in read_imported(folder)} == {"a verdict"}


def test_aspects_turn_with_their_pair(root: Path, decoders: Decoders) -> None:
    rows = [row(number, aspects=(("motion", 1), ("quality", "tie"))) for number in range(20)]
    folder = imported(reader(*rows), root, decoders)
    for one in read_imported(folder):
        assert dict(one.aspects) == {"motion": one.pair.preferred, "quality": "tie"}


def test_what_cannot_be_used_is_named_with_its_row_and_reason(root: Path, decoders: Decoders) -> None:
    (root / "cut.png").write_bytes(picture(1)[:60])
    rows = [
        row(1),
        row(2, candidates=(InFile("a.png"), InFile("missing.png"))),
        row(3, candidates=(InFile("a.png"), InFile("cut.png"))),
        row(4, candidates=(InFile("a.png"), InFile("../outside.png"))),
        InvalidRow("data.json#5", "", "row: prompt is missing"),
        row(6, id="r1"),
        row(7, prompt=""),
        row(8),
    ]
    folder = imported(reader(*rows), root, decoders, max_bad_share=0.8)
    invalid = {one.where: one for one in read_invalid(folder)}
    assert sorted(invalid) == [f"data.json#{number}" for number in range(2, 8)]
    assert invalid["data.json#2"].uri == "missing.png"
    assert invalid["data.json#2"].reason.startswith("media: ")
    assert invalid["data.json#2"].preferred == 1  # a judge counts as wrong there
    assert invalid["data.json#5"].reason == "row: prompt is missing"
    assert "twice" in invalid["data.json#6"].reason
    counted = statistics(folder)
    assert (counted["rows"], counted["usable"], counted["quarantined"]["count"]) == (8, 2, 6)


def test_a_picture_beyond_a_limit_is_listed_with_its_figure_and_grouped_without(root: Path, decoders: Decoders) -> None:
    Image.new("L", (400, 1)).save(root / "thin.png")
    folder = imported(reader(row(1), row(2, candidates=(InFile("thin.png"),) * 2)), root, decoders, max_bad_share=0.8)
    (thin,) = read_invalid(folder)
    assert (thin.reason, thin.measured) == ("media: is too narrow", "400x1 pixels are 400.0 to 1")


def test_too_many_faulty_rows_stop_an_import_with_the_reasons(root: Path, decoders: Decoders) -> None:
    rows = [row(1), *(InvalidRow(f"data.json#{n}", "", "row: prompt is missing") for n in range(2, 5))]
    with pytest.raises(DataError, match=r"3 of 4 rows .*max_bad_share 0.5 .*prompt is missing \(3\)"):
        imported(reader(*rows), root, decoders)


def test_a_set_without_a_valid_row_is_an_error(root: Path, decoders: Decoders) -> None:
    with pytest.raises(DataError, match="no valid row among 1"):
        imported(reader(InvalidRow("data.json#1", "", "row: empty")), root, decoders, max_bad_share=1.0)


def test_a_video_in_frames_becomes_one_medium(root: Path, decoders: Decoders) -> None:
    first, second = Frames(("a.png", "b.png")), Frames(("a.png", "c.png"))
    made = row(1, task=Task.VIDEO_GENERATION, candidates=(first, second))
    folder = imported(reader(made), root, decoders)
    (one,) = read_imported(folder)
    assert [medium.kind for medium in one.pair.media()] == ["video", "video"]
    assert len(one.hashes[0]) == 2


def test_media_in_the_listing_are_stored_as_they_are(root: Path, decoders: Decoders) -> None:
    made = row(1, candidates=(InRow("x/1.png", picture(1)), InRow("x/2.png", picture(2))))
    folder = imported(reader(made), root, decoders)
    assert set(dict(MediaFiles(folder)).values()) == {picture(1), picture(2)}


def test_shards_are_cut_by_the_bytes_in_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "SHARD_BYTES", 100)
    rows = [row(n, candidates=(InRow(f"{n}/1", b"x" * 30), InRow(f"{n}/2", b"x" * 30))) for n in range(3)]
    assert [len(list(shard)) for _, shard in importing.shards_of(rows)] == [1, 1, 1]


def test_a_killed_import_begins_with_its_first_missing_shard(
    root: Path, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SHARD_ROWS", 2)
    rows = [row(number, candidates=(InFile("a.png"), InFile("bc"[number % 2] + ".png"))) for number in range(6)]
    whole = imported(reader(*rows), root, decoders)
    bytes_of = {path.name: path.read_bytes() for path in whole.iterdir()}
    for path in ImportedShard(whole, 1).files + ImportedShard(whole, 2).files:
        path.unlink()
    made: list[int] = []
    (root / "a.png").rename(root / "kept.png")  # what is whole is not looked at again

    def keep(number: int) -> None:
        made.append(number)

    def kept(number: int) -> bool:
        there = all(path.exists() for path in ImportedShard(whole, number).files)
        if not there and not (root / "a.png").exists():
            (root / "kept.png").rename(root / "a.png")
        return there

    imported(reader(*rows), root, decoders, kept=kept, keep=keep)
    assert made == [1, 2]
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == bytes_of


def test_a_shard_that_cannot_be_kept_ends_the_import(
    root: Path, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SHARD_ROWS", 2)
    kept: list[int] = []

    def keep(number: int) -> None:
        if number == 1:
            raise OSError("the disk is full")
        kept.append(number)

    with pytest.raises(OSError, match="full"):
        imported(reader(*(row(number) for number in range(8))), root, decoders, keep=keep)
    assert kept == [0]


def test_a_kept_shard_between_others_is_taken_in_its_place(
    root: Path, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SHARD_ROWS", 2)
    rows = [row(number) for number in range(10)]
    whole = imported(reader(*rows), root, decoders)
    bytes_of = {path.name: path.read_bytes() for path in whole.iterdir()}
    made: list[int] = []
    counted: list[int] = []
    again = {"kept": lambda number: number in (0, 2, 3), "keep": made.append, "on_progress": counted.append}
    imported(reader(*rows), root, decoders, **again)
    assert made == [1, 4]
    assert counted == [2, 4, 6, 8, 10]
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == bytes_of


def test_an_id_of_a_finished_shard_is_not_taken_twice(
    root: Path, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SHARD_ROWS", 1)
    rows = [row(1), row(2, id="r1")]
    whole = imported(reader(*rows), root, decoders)
    assert [one.where for one in read_invalid(whole)] == ["data.json#2"]
    imported(reader(*rows), root, decoders, kept=lambda number: number == 0)
    assert [one.where for one in read_invalid(whole)] == ["data.json#2"]


def test_a_codec_that_crashes_costs_its_row_alone(
    root: Path, decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "probe_all", crash_in_company)
    monkeypatch.setattr(lookahead, "probe", crash_on_b)
    folder = imported(reader(row(1, candidates=(InFile("a.png"), InFile("c.png"))), row(2)), root, decoders)
    assert [one.pair.id for one in read_imported(folder)] == ["r1"]
    (invalid,) = read_invalid(folder)
    assert (invalid.where, invalid.reason, invalid.uri) == ("data.json#2", "media: crashes its decoder", "b.png")


def crash_in_company(several: list[ProbeRequest]) -> list[ProbeResult | MediaError]:
    return [crash_on_b(seen) for seen in several]


def crash_on_b(seen: ProbeRequest) -> ProbeResult:
    """As a codec does with bytes that it cannot stand."""
    if isinstance(seen.medium, InFile) and seen.medium.path == "b.png":
        os.kill(os.getpid(), signal.SIGSEGV)
    return probe(seen)
