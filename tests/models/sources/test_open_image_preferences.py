"""Open Image Preferences, binarized: the hub's Parquet of chosen and rejected images."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.open_image_preferences import read
from models.sources.rows import InFile, InRow, InvalidRow, Row


def image(name: str) -> dict[str, Any]:
    return {"bytes": name.encode(), "path": f"{name}.png"}


def row(number: int, **changes: Any) -> dict[str, Any]:
    fields = {"prompt": f"prompt {number}", "chosen": image(f"good {number}"), "rejected": image(f"bad {number}")}
    return fields | changes


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_hub_s_rows_are_read_over_all_files_with_their_odd_ones(tmp_path: Path) -> None:
    first, second = "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"
    (tmp_path / "data").mkdir()
    rows = [
        row(1),
        row(2, prompt='<a href="x">ein Fuchs</a> 狐'),
        row(3, prompt=""),
        row(4, chosen=None),
        row(5, rejected={"bytes": b"", "path": "empty.png"}),
        row(6, chosen=image("one"), rejected={"bytes": b"one", "path": "another name.png"}),
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / first)
    rows = [row(7), row(8, chosen={"bytes": None, "path": "sub/ü.png"}), row(9, prompt=None)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / second)
    good, bad = split(tmp_path)
    assert [one.id for one in good] == [f"{first}#1", f"{first}#2", f"{second}#1", f"{second}#2"]
    assert {(one.task, one.preferred, one.group) for one in good} == {(Task.IMAGE_GENERATION, 1, "")}
    assert good[0].candidates == (
        InRow(f"{first}#1/chosen.png", b"good 1"),
        InRow(f"{first}#1/rejected.png", b"bad 1"),
    )
    assert good[1].prompt == '<a href="x">ein Fuchs</a> 狐' and good[3].candidates[0] == InFile("sub/ü.png")
    assert [(one.where, one.reason) for one in bad] == [
        (f"{first}#3", "row: prompt is empty"),
        (f"{first}#4", "row: chosen is missing"),
        (f"{first}#5", "row: rejected is empty"),
        (f"{first}#6", "row: both candidates are the same"),
        (f"{second}#3", "row: prompt is missing"),
    ]


def test_ids_and_categories_are_kept_where_the_set_has_them_and_a_repeated_id_is_passed_on(tmp_path: Path) -> None:
    rows = [row(1, id="a", category="Animation"), row(2, id="a", category=None), row(3, id="b", category="")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    good, bad = split(tmp_path)
    assert [(one.id, one.group) for one in good] == [("a", "Animation"), ("a", ""), ("b", "")] and bad == []


def test_a_folder_without_parquet_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the hub's data/train-\*\.parquet"):
        read(tmp_path)
