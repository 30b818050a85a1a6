"""ShareGPTVideo, held out: two answers to a question about a video's frames."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.evaluation.benchmarks.sharegpt_video_held_out import read
from models.pairs.preference import Task
from models.sources.rows import Frames, InFile, InvalidRow, Row


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def compared(answer: str, **changes: Any) -> dict[str, Any]:
    fields = {"prompt": "What happens?", "images": ["v/f1.jpg", "v/f2.jpg"], "responses": ["one", "two"]}
    return fields | {"answer": answer} | changes


def test_the_layout_of_the_evaluation_script_is_read_with_its_odd_rows(tmp_path: Path) -> None:
    (tmp_path / "images" / "v").mkdir(parents=True)
    (tmp_path / "images" / "v" / "f1.jpg").write_bytes(b"a frame")
    first, second = "Response 1 is better than Response 2.", "Response 2 is better than Response 1."
    rows = [
        compared(first),
        compared(second, prompt="<video>\nWas <i>passiert</i>? 何?", id="q2"),
        compared("Answer 2 is better than Answer 1"),
        compared(first),  # again
        compared(first, responses=["one", ""]),
        compared(first, responses=["one"]),
        compared("Both are good."),
        compared(first, images=[]),
        compared(first, images=["v/f1.jpg", None]),
        compared(first, prompt="<video>"),
    ]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    good, bad = split(tmp_path)
    assert Counter(one.preferred for one in good) == {1: 2, 2: 2}
    assert [one.id for one in good] == ["data.json#1", "q2", "data.json#3", "data.json#4"]
    assert {one.task for one in good} == {Task.VIDEO_UNDERSTANDING}
    assert good[0].candidates == ("one", "two")
    assert good[1].prompt == "Was <i>passiert</i>? 何?"
    # The second frame is missing, and is named as the listing has it.
    assert good[0].context == (Frames(("images/v/f1.jpg", "v/f2.jpg")),)
    assert [one.where for one in bad] == [f"data.json#{number}" for number in range(5, 11)]
    assert [one.reason.split(",")[0] for one in bad] == [
        "row: response 2 is empty",
        "row: responses is no list of two but 1 values",
        "row: answer is 'Both are good.'",
        "row: images is no list of frames",
        "row: a frame is no text but of type NoneType",
        "row: the question is empty but for its placeholder",
    ]


def test_pairs_held_out_of_the_published_lines_prefer_the_chosen_answer(tmp_path: Path) -> None:
    def line(name: str, video: str, **changes: Any) -> str:
        fields = {"id": name, "video": video, "prompt": "What happens?", "answer": "x", "chosen": "yes"}
        return json.dumps(fields | {"rejected": "no", "chosen_score": 5, "rejected_score": 1} | changes)

    (tmp_path / "frames" / "v_1").mkdir(parents=True)
    for name in ("c01_0002.jpeg", "c01_0003.jpeg", "c01_0001.jpeg", "notes.txt"):
        (tmp_path / "frames" / "v_1" / name).write_bytes(b"a frame")
    (tmp_path / "v_2.mp4").write_bytes(b"a video")
    lines = [
        line("a", "frames/v_1"),
        line("b", "v_2", chosen={"from": "gpt", "value": "yes"}),
        line("c", "v_2.mp4"),
        line("d", "gone"),
        line("e", "v_2", rejected=None),
        "{",
    ]
    (tmp_path / "held_out.jsonl").write_text("\n".join(lines))
    good, bad = split(tmp_path)
    assert [(one.id, one.preferred, one.candidates) for one in good] == [(name, 1, ("yes", "no")) for name in "abcd"]
    assert [one.context for one in good] == [
        (Frames(tuple(f"frames/v_1/c01_000{number}.jpeg" for number in (1, 2, 3))),),
        (InFile("v_2.mp4"),),
        (InFile("v_2.mp4"),),
        (InFile("gone"),),
    ]
    assert [(one.where, one.id) for one in bad] == [("held_out.jsonl#5", "e"), ("held_out.jsonl#6", "")]


def test_a_folder_without_a_listing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected data\.json beside the frames"):
        read(tmp_path)
