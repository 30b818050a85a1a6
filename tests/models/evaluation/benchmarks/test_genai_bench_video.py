"""GenAI-Bench, videos: the votes of a JSON listing and of the hub's Parquet, whose videos are URLs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.evaluation.benchmarks.genai_bench_video import BENCHMARK, read
from models.pairs.preference import Task
from models.sources.rows import InFile, InRow, InvalidRow, Row


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_a_json_listing_is_read_with_its_odd_rows(tmp_path: Path) -> None:
    def row(vote: str, **changes: Any) -> dict[str, Any]:
        return {"prompt": "a dog runs", "video_left": "1.mp4", "video_right": "2.mp4", "vote_type": vote} | changes

    (tmp_path / "videos" / "sub").mkdir(parents=True)
    for name in ("1.mp4", "2.mp4", "sub/ü.mp4"):
        (tmp_path / "videos" / name).write_bytes(b"a video")
    rows = [
        row("leftvote"),
        row("rightvote", video_left="sub/ü.mp4", prompt='<a href="x">犬</a>'),
        row("bothbad_vote"),
        row("tievote", video_right="missing.mp4"),
        row("leftvote"),  # the same vote once more counts once more
        row("leftvote", video_left=""),
        row("leftvote", video_left=7),
        row("left"),
        [],
    ]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    good, bad = split(tmp_path)
    assert Counter(one.preferred for one in good) == {1: 2, 2: 1, "tie": 2}
    assert len({one.id for one in good}) == 5 and {one.task for one in good} == {Task.VIDEO_GENERATION}
    assert good[0].candidates == (InFile("videos/1.mp4"), InFile("videos/2.mp4"))
    assert good[1].candidates[0] == InFile("videos/sub/ü.mp4") and good[1].prompt == '<a href="x">犬</a>'
    assert good[3].candidates == (InFile("videos/1.mp4"), InFile("missing.mp4"))
    assert [(one.where, one.reason) for one in bad] == [
        ("data.json#6", "row: video_left is empty"),
        ("data.json#7", "row: video_left is no text but of type int"),
        ("data.json#8", "row: vote_type is 'left', none of leftvote, rightvote, tievote, bothbad_vote"),
        ("data.json#9", "row: is no object but of type list"),
    ]


def test_a_url_stands_for_the_file_that_it_was_downloaded_to(tmp_path: Path) -> None:
    def row(left: Any, right: Any) -> dict[str, Any]:
        return {"prompt": "a dog", "left_video": left, "right_video": right, "vote_type": "leftvote"}

    rows = [
        row("https://example.org/a/left%20one.mp4?download=1", "HTTPS://example.org:8080/right.mp4"),
        row("http://127.0.0.1/../../secret.mp4", "https://[broken/x.mp4"),
        row("http://169.254.169.254/../../secret.mp4", "plain.mp4"),
    ]
    (tmp_path / "video_generation").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "video_generation" / "test-00000-of-00001.parquet")
    (good, private), (broken,) = split(tmp_path)
    assert good.candidates == (
        InFile("videos/example.org/a/left one.mp4"),
        InFile("videos/example.org:8080/right.mp4"),
    )
    # Nothing is fetched; that this path leaves the root is for the import to refuse.
    assert private.candidates == (InFile("videos/169.254.169.254/../../secret.mp4"), InFile("plain.mp4"))
    assert broken.where.endswith("#2") and broken.reason.startswith("row: video is no URL")


def test_videos_may_stand_in_the_rows(tmp_path: Path) -> None:
    video = {"bytes": b"mp4", "path": "x.mp4"}
    rows = [{"prompt": "a dog", "left_video": video, "right_video": video, "vote_type": "tievote"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test_v1-00000-of-00001.parquet")
    (good,), bad = split(tmp_path)
    assert bad == [] and good.candidates[1] == InRow("test_v1-00000-of-00001.parquet#1/right_video.mp4", b"mp4")


def test_a_model_s_figures_from_two_papers_are_told_apart_by_their_source() -> None:
    thinking = [one for one in BENCHMARK.quoted if one.model.startswith("UnifiedReward-Think")]
    assert [(one.figures["diff"], one.source) for one in thinking] == [
        (82.3, "arXiv 2505.03318"),
        (81.6, "arXiv 2505.03318"),
        (84.0, "arXiv 2505.03318"),
        (80.4, "measured again in arXiv 2510.10518, table 1"),
    ]


def test_the_listing_is_found_under_the_name_that_the_reference_ships(tmp_path: Path) -> None:
    row = {"prompt": "a dog", "video_left": "1.mp4", "video_right": "2.mp4", "vote_type": "leftvote"}
    (tmp_path / "genai_bench_video.json").write_text(json.dumps([row]))
    good, bad = split(tmp_path)
    assert [one.where for one in good] == ["genai_bench_video.json#1"] and not bad
