"""VideoGen-RewardBench: the published CSV and its Parquet conversion, with the labels of every aspect."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.evaluation.benchmarks.videogen_reward_bench import BENCHMARK, read
from models.pairs.preference import Task
from models.sources.rows import InFile, InvalidRow, Row

COLUMNS = ["path_A", "path_B", "A_model", "B_model", "prompt", "VQ", "MQ", "TA", "Overall"]
COLUMNS += ["fps_A", "num_frames_A", "fps_B", "num_frames_B"]


def row(number: int, overall: str, **changes: Any) -> dict[str, Any]:
    fields = {
        "path_A": f"videos/kling1.5/kling1.5_{number:05d}.mp4",
        "path_B": f"videos/minimax/minimax_{number:05d}.mp4",
        "A_model": "kling1.5",
        "B_model": "minimax",
        "prompt": "Static camera, a metal ball rolls on a smooth tabletop.",
        "VQ": "A",
        "MQ": "B",
        "TA": "same",
        "Overall": overall,
        "fps_A": 30.0,
        "num_frames_A": 153,
        "fps_B": 25.0,
        "num_frames_B": 141,
    }
    return fields | changes


ROWS = [
    row(1, "A"),
    row(2, "B", prompt='Er sagt: "Halt, 停!"\nDann <b>Stille</b>, nichts mehr.'),
    row(3, "same"),
    row(1, "A"),  # the same pair again
    row(5, "B", TA="", MQ=""),
    row(6, ""),
    row(7, "C"),
    row(8, "A", VQ="better"),
    row(9, "A", path_B=""),
    row(10, "A", prompt="   "),
]


def written(root: Path, rows: list[dict[str, Any]]) -> Path:
    with (root / "videogen-rewardbench.csv").open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return root


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_csv_is_read_with_its_odd_rows(tmp_path: Path) -> None:
    good, bad = split(written(tmp_path, ROWS))
    assert Counter(one.preferred for one in good) == {1: 2, 2: 2, "tie": 1}
    assert [one.where for one in good] == [f"videogen-rewardbench.csv#{number}" for number in range(1, 6)]
    assert len({one.id for one in good}) == 5 and {one.task for one in good} == {Task.VIDEO_GENERATION}
    assert good[0].candidates == (
        InFile("videos/kling1.5/kling1.5_00001.mp4"),
        InFile("videos/minimax/minimax_00001.mp4"),
    )
    assert good[1].prompt == 'Er sagt: "Halt, 停!"\nDann <b>Stille</b>, nichts mehr.'
    assert [(one.where, one.reason) for one in bad] == [
        ("videogen-rewardbench.csv#6", "row: Overall is empty"),
        ("videogen-rewardbench.csv#7", "row: Overall is 'C', none of A, B, same"),
        ("videogen-rewardbench.csv#8", "row: VQ is 'better', none of A, B, same"),
        ("videogen-rewardbench.csv#9", "row: path_B is empty"),
        ("videogen-rewardbench.csv#10", "row: prompt is empty"),
    ]


def test_the_aspects_are_labels_beside_the_overall_one_and_a_missing_one_is_left_out(tmp_path: Path) -> None:
    good, _ = split(written(tmp_path, ROWS))
    assert good[1].aspects == (("VQ", 1), ("MQ", 2), ("TA", "tie")) and good[1].preferred == 2
    assert good[4].aspects == (("VQ", 1),)


def test_the_parquet_conversion_gives_the_same_pairs(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    folder = tmp_path / "hub" / "default" / "eval"
    folder.mkdir(parents=True)
    # The hub's conversion reads an empty cell as null.
    rows = [{name: None if value == "" else value for name, value in one.items()} for one in ROWS]
    pq.write_table(pa.Table.from_pylist(rows), folder / "0000.parquet")
    from_csv, from_parquet = split(written(tmp_path / "csv", ROWS)), split(tmp_path / "hub")
    assert [(one.candidates, one.preferred, one.aspects) for one in from_parquet[0]] == [
        (one.candidates, one.preferred, one.aspects) for one in from_csv[0]
    ]
    assert [one.where for one in from_parquet[1]] == [f"default/eval/0000.parquet#{number}" for number in range(6, 11)]


def test_rows_of_other_lengths_are_named_and_a_byte_order_mark_is_no_column(tmp_path: Path) -> None:
    lines = ["path_A,path_B,prompt,Overall", "a.mp4,b.mp4,a ball,A", "a.mp4,b.mp4,a ball", "a.mp4,b.mp4,a,ball,A"]
    (tmp_path / "videogen-rewardbench.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    (good,), bad = split(tmp_path)
    assert good.prompt == "a ball" and good.aspects == ()
    assert [one.reason for one in bad] == [
        "row: Overall is missing",
        "row: has more cells than the header has names",
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'path_A,path_B,prompt,Overall\na.mp4,b.mp4,"never closed,A\na.mp4,b.mp4,a ball,B\n', "after row 0"),
        (b"path_A,path_B,prompt,Overall\na.mp4,b.mp4,a ball,A\n\xff\xfe,b.mp4,a ball,B\n", "is no CSV after row"),
        (b"path_A,prompt\na.mp4,a ball\n", "has no column path_B, Overall"),
        (b"", "has no column path_A, path_B, prompt, Overall"),
    ],
)
def test_a_file_that_is_no_such_csv_is_refused_by_name(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "videogen-rewardbench.csv").write_bytes(data)
    with pytest.raises(DataError, match=says) as caught:
        list(read(tmp_path))
    assert "videogen-rewardbench.csv" in str(caught.value)


def test_its_headline_leaves_ties_out() -> None:
    assert (BENCHMARK.ties, BENCHMARK.macro) == ("diff", False)
    assert {one.figures["diff"] for one in BENCHMARK.quoted} >= {80.5, 79.9}
