"""MJ-Bench-Video: its labels count from 1 where its columns count from 0."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.evaluation.benchmarks.mj_bench_video import read
from models.pairs.preference import Task
from models.sources.rows import InFile, InvalidRow, Row

SAME = dict.fromkeys(["Alignment", "Safety", "Fineness", "Coherence & Consistency", "Bias"], "Same")


def row(number: int, overall: str, **changes: Any) -> dict[str, Any]:
    fields = {
        "caption": f"caption {number}",
        "video_0_path": f"test/{number}_0.mp4",
        "video_1_path": f"test/{number}_1.mp4",
        "video_0_label": {"object": 1, "Crime": 0},
        "video_0_overall_score": {"Alignment": 1, "Safety": 0, "Fineness": 1, "Consistency": 0, "Bias": 0},
        "video_1_label": {"object": 1, "Crime": 0},
        "video_1_overall_score": {"Alignment": 1, "Safety": 0, "Fineness": 2, "Consistency": 0, "Bias": 0},
        "category_preference": SAME,
        "overall_preference": overall,
        "discard": False,
        "video_0_total_score": 1,
        "video_1_total_score": 0,
    }
    return fields | changes


def split(root: Path, rows: list[Any]) -> tuple[list[Row], list[InvalidRow]]:
    (root / "test.json").write_text(json.dumps(rows))
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_listing_is_read_with_its_odd_rows(tmp_path: Path) -> None:
    rows = [
        row(0, "Video 1 better"),
        row(1, "Video 2 better", caption="Pok\u00e9mon <i>Pikachu</i> ⚡"),
        row(2, "Same"),
        row(3, "Hard to judge"),
        row(0, "Video 1 better"),  # again
        row(5, "Video 0 better"),
        row(6, "Same", discard=True),
        row(7, "Same", caption=""),
        row(8, "Same", video_1_path=None),
        row(9, "Same", category_preference=SAME | {"Bias": "none"}),
    ]
    good, bad = split(tmp_path, rows)
    assert Counter(one.preferred for one in good) == {1: 2, 2: 1, "tie": 2}
    assert [one.id for one in good] == [f"test.json#{number}" for number in range(1, 6)]
    assert {one.task for one in good} == {Task.VIDEO_GENERATION} and good[1].prompt == "Pokémon <i>Pikachu</i> ⚡"
    assert [(one.where, one.reason.split(",")[0]) for one in bad] == [
        ("test.json#6", "row: overall_preference is 'Video 0 better'"),
        ("test.json#7", "row: is marked as discarded by its authors"),
        ("test.json#8", "row: caption is empty"),
        ("test.json#9", "row: video_1_path is missing"),
        ("test.json#10", "row: Bias is 'none'"),
    ]


def test_video_1_of_the_labels_is_video_0_of_the_columns(tmp_path: Path) -> None:
    (given,), _ = split(tmp_path, [row(4, "Video 1 better", category_preference=SAME | {"Fineness": "Video 2 better"})])
    assert given.candidates == (InFile("test/4_0.mp4"), InFile("test/4_1.mp4")) and given.preferred == 1
    assert dict(given.aspects) == dict.fromkeys(SAME, "tie") | {"Fineness": 2}


def test_videos_lie_in_a_folder_that_the_listing_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "videos" / "test").mkdir(parents=True)
    (tmp_path / "videos" / "test" / "4_0.mp4").write_bytes(b"a video")
    (given,), _ = split(tmp_path, [row(4, "Same", category_preference=None)])
    assert given.candidates == (InFile("videos/test/4_0.mp4"), InFile("test/4_1.mp4")), "the second is missing"
    assert given.aspects == ()


def test_a_folder_without_the_test_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(DataError, match=r"has no test\.json: expected test\.json beside videos/"):
        read(tmp_path)
