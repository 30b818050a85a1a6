"""ShareGPTVideo's pairs: the chosen answer first, and videos that are folders of frames."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.rows import Frames, InFile, InvalidRow, Row
from models.sources.sharegpt_video_dpo import read


def line(name: Any, video: Any, **changes: Any) -> dict[str, Any]:
    fields = {"id": name, "video": video, "prompt": "Was <i>passiert</i>? 何?", "answer": "x", "chosen": "yes"}
    return fields | {"rejected": "no"} | changes


def read_lines(root: Path, lines: list[Any]) -> tuple[list[Row], list[InvalidRow]]:
    folder = root / "video_instruction" / "train" / "dpo"
    folder.mkdir(parents=True, exist_ok=True)
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    (folder / "sft_dpo_17k.jsonl").write_text("\n".join(texts), encoding="utf-8")
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_published_lines_are_read_with_their_odd_rows(tmp_path: Path) -> None:
    good, bad = read_lines(
        tmp_path,
        [
            line("a", "v_1", prompt="<video>\nWas <i>passiert</i>? 何?"),
            line("b", "v_1", chosen_score=3, rejected_score=3.0),
            line("a", "v_1", chosen_score=5, rejected_score=1),  # an id once more
            line(None, "v_1", chosen={"from": "gpt", "value": "yes"}, chosen_score=5),
            line("c", "v_1", chosen_score=1, rejected_score=4),
            line("d", "v_1", rejected=""),
            line("e", "v_1", rejected="yes"),
            line("f", None),
            line("g", "v_1", prompt="<video>\n"),
            "{",
        ],
    )
    where = "video_instruction/train/dpo/sft_dpo_17k.jsonl"
    assert Counter(one.preferred for one in good) == {1: 3, "tie": 1}
    assert [one.id for one in good] == ["a", "b", "a", f"{where}#4"]
    assert {one.prompt for one in good} == {"Was <i>passiert</i>? 何?"}
    assert {one.candidates for one in good} == {("yes", "no")}
    assert {one.task for one in good} == {Task.VIDEO_UNDERSTANDING}
    assert [(one.where, one.id, one.reason.split(" (")[0]) for one in bad[:-1]] == [
        (f"{where}#5", "c", "row: chosen_score 1 is below rejected_score 4"),
        (f"{where}#6", "d", "row: rejected is empty"),
        (f"{where}#7", "e", "row: both candidates are the same"),
        (f"{where}#8", "f", "row: video is missing"),
        (f"{where}#9", "g", "row: the question is empty but for its placeholder"),
    ]
    assert bad[-1].where == f"{where}#10" and bad[-1].reason.startswith("row: not JSON")


def test_a_video_is_a_folder_of_frames_or_a_file_wherever_it_lies(tmp_path: Path) -> None:
    frames = tmp_path / "train_300k" / "sub" / "v ü"
    frames.mkdir(parents=True)
    for name in ("f10.jpeg", "f2.jpeg", "f1.JPG", "notes.txt"):
        (frames / name).write_bytes(b"a frame")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "v_2.mp4").write_bytes(b"a video")
    (tmp_path / "v_3.webm").write_bytes(b"a video")
    (tmp_path / "empty").mkdir()
    names = ["sub/v ü", "v_2", "v_2.mp4", "v_3.webm", "empty", "gone", "gone.mov"]
    good, bad = read_lines(tmp_path, [line(name, name) for name in names])
    assert bad == []
    assert [one.context for one in good] == [
        (Frames(tuple(f"train_300k/sub/v ü/{name}" for name in ("f1.JPG", "f2.jpeg", "f10.jpeg"))),),
        (InFile("videos/v_2.mp4"),),
        (InFile("videos/v_2.mp4"),),
        (InFile("v_3.webm"),),
        (InFile("empty.mp4"),),
        (InFile("gone.mp4"),),
        (InFile("gone.mov"),),
    ]


def test_nothing_outside_the_root_is_listed(tmp_path: Path) -> None:
    root, outside = tmp_path / "data", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "f1.jpg").write_bytes(b"a secret")
    (root / "link").symlink_to(outside)
    names = ["../outside", str(outside), "link", "a\0b"]
    good, _ = read_lines(root, [line(name, name) for name in names])
    assert [one.context for one in good] == [(InFile(name),) for name in names], "which the import refuses"


def test_a_folder_without_a_listing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="beside train_300k/"):
        read(tmp_path)
