"""Our own pair format: what is written is read back, by each of those who read it."""

import json
from pathlib import Path

import pytest

from models.pairs.preference import Media, PreferencePair, Task
from models.shapes.pairs import make_pair
from models.sources import own
from models.sources.jsonl import read_rows
from models.sources.pair_format import LISTING, pair_of, read_pairs, write_pair
from models.sources.rows import InFile, InvalidRow, Medium, Row


def made(task: Task, number: int) -> tuple[PreferencePair, dict[str, bytes]]:
    one = make_pair(task, number, seed=3, held_out=False)
    return one.pair.model_copy(update={"group": "kites\u2028凧", "source": "somebody"}), one.blobs


def listing_of(folder: Path, *lines: str) -> Path:
    (folder / LISTING).write_text("".join(lines), encoding="utf-8")
    return folder / LISTING


@pytest.mark.parametrize("task", list(Task))
def test_a_written_pair_is_read_back_whole(tmp_path: Path, task: Task) -> None:
    pair, blobs = made(task, 4)
    for uri, data in blobs.items():
        (tmp_path / uri).write_bytes(data)
    listing_of(tmp_path, write_pair(pair))
    assert read_rows(tmp_path, max_frames=8).pairs == [pair]
    ((line, row),) = read_pairs(tmp_path / LISTING)
    assert (line, list(own.read(tmp_path))) == (1, [row])
    assert isinstance(row, Row) and row.source == "somebody"

    def opened(medium: Medium) -> Media:
        assert isinstance(medium, InFile)
        return next(one for one in pair.media() if one.uri == medium.path)

    assert pair_of(row, opened, row.source) == pair


def test_media_are_named_as_the_writer_is_asked_to(tmp_path: Path) -> None:
    pair, _ = made(Task.VIDEO_UNDERSTANDING, 0)
    row = json.loads(write_pair(pair, lambda media: f"{media.sha256}.gif"))
    assert row["context"] == [f"{media.sha256}.gif" for media in pair.context]


def test_lines_are_those_of_an_editor_and_rows_those_that_hold_something(tmp_path: Path) -> None:
    pair, _ = made(Task.IMAGE_GENERATION, 0)
    found = list(read_pairs(listing_of(tmp_path, "\n", write_pair(pair), "  \n", "{\n", write_pair(pair))))
    assert [(line, row.where) for line, row in found] == [
        (2, f"{LISTING}#1"),
        (4, f"{LISTING}#2"),
        (5, f"{LISTING}#3"),
    ]
    assert isinstance(found[1][1], InvalidRow) and found[1][1].reason.startswith("row: not JSON: ")


def test_a_label_is_a_number_in_json(tmp_path: Path) -> None:
    line = json.dumps({**json.loads(write_pair(made(Task.IMAGE_GENERATION, 0)[0])), "preferred": "1"})
    ((_, row),) = read_pairs(listing_of(tmp_path, line))
    assert isinstance(row, InvalidRow) and row.reason == "row: preferred is the text '1': write the number"
