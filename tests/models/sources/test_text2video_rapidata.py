"""Rapidata's votes between generated videos: which votes make a label, and which a tie."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.rows import InFile, InRow, InvalidRow, Row
from models.sources.text2video_rapidata import read


def row(first: Any, second: Any, **changes: Any) -> dict[str, Any]:
    fields = {"prompt": "a <b>kite</b> 凧", "video1": "https://a.example/x.gif", "video2": "https://a.example/y.gif"}
    fields |= {"file_name1": "0010_hunyuan_421.mp4", "file_name2": "sub/0010_sora_ü.mp4"}
    votes = {"weighted_results1_Preference": first, "weighted_results2_Preference": second}
    aspects = {f"weighted_results{one}_{name}": None for one in (1, 2) for name in ("Coherence", "Alignment")}
    return fields | votes | aspects | changes


def read_rows(root: Path, rows: list[dict[str, Any]]) -> tuple[list[Row], list[InvalidRow]]:
    (root / "data").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "data" / "train-00000-of-00001.parquet")
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_votes_become_labels_and_equal_votes_a_tie(tmp_path: Path) -> None:
    (tmp_path / "Videos" / "sub").mkdir(parents=True)
    for name in ("0010_hunyuan_421.mp4", "sub/0010_sora_ü.mp4"):
        (tmp_path / "Videos" / name).write_bytes(b"a video")
    coherent = {"weighted_results1_Coherence": 0.2, "weighted_results2_Coherence": 0.8}
    good, bad = read_rows(
        tmp_path,
        [
            row(0.9, 0.1),
            row(0.25, 0.75, **coherent, weighted_results1_Alignment=0.5, weighted_results2_Alignment=0.5),
            row(0.5, 0.5),
            row(0.1 + 0.2, 0.3),  # 0.30000000000000004
            row(0.9, 0.1),  # once more
            row(0.0, 0.0),
            row(None, 0.1),
            row(float("nan"), 0.1),
            row(-0.1, 1.1),
            row(0.9, 0.1, prompt=None),
            row(0.9, 0.1, file_name2="0010_hunyuan_421.mp4"),
            row(0.9, 0.1, **coherent, weighted_results1_Alignment=0.0, weighted_results2_Alignment=0.0),
        ],
    )
    assert Counter(one.preferred for one in good) == {1: 2, 2: 1, "tie": 2}
    assert len({one.id for one in good}) == 5 and {one.task for one in good} == {Task.VIDEO_GENERATION}
    assert good[0].candidates == (InFile("Videos/0010_hunyuan_421.mp4"), InFile("Videos/sub/0010_sora_ü.mp4"))
    assert good[0].prompt == "a <b>kite</b> 凧" and good[0].aspects == ()
    assert good[1].aspects == (("Coherence", 2), ("Alignment", "tie"))
    assert [(one.where.partition("#")[2], one.reason) for one in bad] == [
        ("6", "row: Preference has no votes"),
        ("7", "row: weighted_results1_Preference is missing"),
        ("8", "row: weighted_results1_Preference is nan, no finite number"),
        ("9", "row: Preference has -0.1 votes for a video, less than none"),
        ("10", "row: prompt is missing"),
        ("11", "row: both candidates are the same"),
        ("12", "row: Alignment has no votes"),
    ]


def test_videos_without_file_names_are_urls_of_downloaded_files_or_stand_in_the_row(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "x.gif").write_bytes(b"a video")
    (good,), _ = read_rows(tmp_path, [row(1.0, 0.0, file_name1=None, file_name2=None)])
    assert good.candidates == (InFile("videos/x.gif"), InFile("https://a.example/y.gif")), "nothing is fetched"
    video = {"bytes": b"mp4", "path": "z.mp4"}
    (good,), _ = read_rows(tmp_path, [row(1.0, 0.0, file_name1=None, video1=video)])
    assert good.candidates[0] == InRow("data/train-00000-of-00001.parquet#1/video1.mp4", b"mp4")


def test_a_folder_without_a_listing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="beside Videos/"):
        read(tmp_path)
