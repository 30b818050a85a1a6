"""Listings, read row by row."""

import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.sources.listings import MOST_NESTED, find, rows_of
from models.sources.rows import InvalidRow

FOUND = Path(__file__).parent / "found"


def test_rows_are_named_by_file_and_number(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.json").write_text('[{"n": 1.5}, {"n": 2}]')
    (tmp_path / "b.jsonl").write_text('{"n": 3}\n\n{"n": "\u2028"}\n')
    pq.write_table(pa.table({"n": [5]}), tmp_path / "c.parquet")
    files = [tmp_path / "a" / "x.json", tmp_path / "b.jsonl", tmp_path / "c.parquet"]
    assert list(rows_of(tmp_path, files)) == [
        ("a/x.json#1", {"n": 1.5}),
        ("a/x.json#2", {"n": 2}),
        ("b.jsonl#1", {"n": 3}),
        ("b.jsonl#2", {"n": "\u2028"}),
        ("c.parquet#1", {"n": 5}),
    ]


def test_a_line_that_is_no_json_is_one_invalid_row(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"n": 1}\n{"n": \n\xff\n{"n": 4}\n')
    found = [row for _, row in rows_of(tmp_path, [tmp_path / "x.jsonl"])]
    assert [isinstance(row, InvalidRow) for row in found] == [False, True, True, False]
    assert found[1].where == "x.jsonl#2"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"n": 1}, {"n": ', "is not JSON after row 1"),
        ('{"n": [1]}', "holds no JSON array but begins with start map"),
        ("[" * (MOST_NESTED + 2), f"deeper than {MOST_NESTED}"),
    ],
)
def test_a_file_that_is_no_listing_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=f"x.json {says}|{says}"):
        list(rows_of(tmp_path, [tmp_path / "x.json"]))


def test_a_file_of_brackets_costs_no_more_than_it_weighs(tmp_path: Path) -> None:
    """Found by tests/proofs/fuzz.py: 30 kB of them took 1.8 s and 2.3 GB, since each event carries the path to it."""
    (tmp_path / "x.json").write_bytes(b"[" * 30_000)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"deeper than {MOST_NESTED}"):
            list(rows_of(tmp_path, [tmp_path / "x.json"]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 * 2**20


@pytest.mark.parametrize("name", ["name_is_no_text", "cell_is_no_text"])
def test_parquet_whose_text_is_none_is_named(name: str) -> None:
    """Found by tests/proofs/fuzz.py and kept as it was: a byte of a column's name, and one of a value, is no UTF-8."""
    with pytest.raises(DataError, match=rf"{name}\.parquet is no readable Parquet: 'utf-8' codec can't decode byte 0x"):
        list(rows_of(FOUND, [FOUND / f"{name}.parquet"]))


def test_the_first_pattern_that_matches_is_taken_and_none_tells_the_layout(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps([]))
    assert find(tmp_path, "a.json", "*.json", layout="a listing") == [tmp_path / "b.json"]
    with pytest.raises(DataError, match=r"has no a.json or \*.txt: expected a listing"):
        find(tmp_path, "a.json", "*.txt", layout="a listing")
