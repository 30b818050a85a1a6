"""GenAI-Bench, images: the votes of the hub's Parquet and of a JSON listing."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.evaluation.benchmarks.genai_bench_image import BENCHMARK, read
from models.pairs.preference import Task
from models.sources.rows import InFile, InRow, InvalidRow, Row


def image(name: str) -> dict[str, Any]:
    return {"bytes": name.encode(), "path": f"{name}.jpg"}


def row(number: int, vote: str | None, **changes: Any) -> dict[str, Any]:
    fields = {
        "prompt": f"prompt {number}",
        "left_model": "PlayGround V2.5",
        "left_image": image(f"left {number}"),
        "right_model": "SDXL",
        "right_image": image(f"right {number}"),
        "vote_type": vote,
    }
    return fields | changes


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_hub_s_votes_are_read_with_their_odd_rows(tmp_path: Path) -> None:
    name = "image_generation/test-00000-of-00001.parquet"
    rows = [
        row(1, "leftvote"),
        row(2, "rightvote", prompt="<b>ein Fuchs</b> 狐 & \u2028"),
        row(3, "tievote"),
        row(4, "bothbad_vote"),
        row(1, "rightvote"),  # the same pair, voted on again
        row(6, "sharevote"),
        row(7, None),
        row(8, "leftvote", left_image={"bytes": b"", "path": "empty.jpg"}),
        row(9, "leftvote", right_image=None),
        row(10, "leftvote", prompt=" "),
    ]
    (tmp_path / "image_generation").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    good, bad = split(tmp_path)
    assert Counter(one.preferred for one in good) == {1: 1, 2: 2, "tie": 2}
    assert [one.id for one in good] == [f"{name}#{number}" for number in range(1, 6)]
    assert good[0].candidates == (
        InRow(f"{name}#1/left_image.jpg", b"left 1"),
        InRow(f"{name}#1/right_image.jpg", b"right 1"),
    )
    assert {one.task for one in good} == {Task.IMAGE_GENERATION} and good[1].prompt == "<b>ein Fuchs</b> 狐 & \u2028"
    assert [(one.where, one.reason) for one in bad] == [
        (f"{name}#6", "row: vote_type is 'sharevote', none of leftvote, rightvote, tievote, bothbad_vote"),
        (f"{name}#7", "row: vote_type is missing"),
        (f"{name}#8", "row: left_image is empty"),
        (f"{name}#9", "row: right_image is missing"),
        (f"{name}#10", "row: prompt is empty"),
    ]


@pytest.mark.parametrize("names", [("left_image", "right_image"), ("image_left", "image_right")])
def test_a_json_listing_names_files_beside_it_or_in_images(tmp_path: Path, names: tuple[str, str]) -> None:
    left, right = names
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "1.png").write_bytes(b"left")
    rows = [
        {"prompt": "a fox", left: "a/1.png", right: "gone.png", "vote_type": "leftvote"},
        {"prompt": "a fox", left: "a/1.png", "vote_type": "leftvote"},
        {"id": "mine", "prompt": "a fox", left: "../out.png", right: "/etc/passwd", "vote_type": "tievote"},
    ]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    (good, outside), (bad,) = split(tmp_path)
    assert good.candidates == (InFile("images/a/1.png"), InFile("gone.png"))
    assert outside.id == "mine" and outside.candidates == (InFile("../out.png"), InFile("/etc/passwd"))
    assert bad.where == "data.json#2" and bad.reason.endswith("is missing")


def test_the_split_of_the_evaluation_scripts_is_read_where_both_are_there(tmp_path: Path) -> None:
    (tmp_path / "image_generation").mkdir()
    for file, prompt in [("test_v1-00000-of-00001", "old"), ("test-00000-of-00001", "new")]:
        table = pa.Table.from_pylist([row(1, "leftvote", prompt=prompt)])
        pq.write_table(table, tmp_path / "image_generation" / f"{file}.parquet")
    assert [one.prompt for one in split(tmp_path)[0]] == ["new"]
    (tmp_path / "image_generation" / "test-00000-of-00001.parquet").unlink()
    assert [one.prompt for one in split(tmp_path)[0]] == ["old"]
    assert [one.prompt for one in split(tmp_path / "image_generation")[0]] == ["old"]


def test_the_votes_on_edits_and_videos_are_not_taken_for_images(tmp_path: Path) -> None:
    for folder in ("image_edition", "video_generation"):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.Table.from_pylist([row(1, "leftvote")]), tmp_path / folder / "test-00000-of-00001.parquet")
    with pytest.raises(
        DataError,
        match=r"data\.json or genai_bench_image\.json beside images/, or the hub's image_gen",
    ):
        read(tmp_path)


def test_its_headline_leaves_ties_out() -> None:
    assert (BENCHMARK.ties, BENCHMARK.macro, BENCHMARK.groups) == ("diff", False, ())
    assert BENCHMARK.quoted[0].figures == {"diff": 72.5}
