"""Pairs in UnifiedReward-Think's form for GRPO: a problem, its solution, and a flat list of images."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.grpo_json import read
from models.sources.rows import Frames, InFile, InvalidRow, Row


def row(problem: str, solution: Any, images: Any, **more: Any) -> dict[str, Any]:
    return {"problem": problem, "solution": solution, "images": images} | more


def test_the_form_is_read_with_its_odd_rows(tmp_path: Path) -> None:
    images, videos = "two images\nText Caption: [a <b>kite</b> 凧]", "two videos\nText Caption: [a kite]"
    question = "a reference video\nQuestion: [What flies?]\nAnswer 1: [a dog]\nAnswer 2: [a kite]"
    frames = ["1/a.jpg", "1/b.jpg", "1/c.jpg", "2/x/a.jpg", "2/x/b.jpg", "2/x/c.jpg"]
    rows = [
        row(images, "Image 2 is better", ["1.jpg", "2.jpg"], id="a"),
        row(videos, "Video 1 is better", frames),
        row(videos, "Both videos are equally good", frames),
        row(question, "<answer>Answer 2 is better</answer>", frames),
        row(images, "Image 2 is better", ["1.jpg", "2.jpg"], id="a"),
        row(videos, "Video 1 is better", frames[:5]),
        row(videos, "Image 1 is better", frames),
        row(images, "2", ["1.jpg", "2.jpg"]),
        row("What is this?", "Image 1 is better", ["1.jpg", "2.jpg"]),
        {"problem": images, "images": ["1.jpg", "2.jpg"], "id": 7},
    ]
    (tmp_path / "grpo.json").write_text(json.dumps(rows), encoding="utf-8")
    found = list(read(tmp_path))
    good, bad = [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]
    assert Counter(one.preferred for one in good) == {2: 3, 1: 1, "tie": 1}
    assert [one.id for one in good] == ["a", "grpo.json#2", "grpo.json#3", "grpo.json#4", "a"]
    assert good[0].candidates == (InFile("1.jpg"), InFile("2.jpg")) and good[0].prompt == "a <b>kite</b> 凧"
    assert good[1].candidates == (Frames(tuple(frames[:3])), Frames(tuple(frames[3:])))
    assert good[3].task == Task.VIDEO_UNDERSTANDING and good[3].context == (Frames(tuple(frames)),)
    assert [(one.where, one.id, one.reason) for one in bad] == [
        ("grpo.json#6", "", "row: images is 5 frames, which two videos cannot share equally"),
        ("grpo.json#7", "", "row: solution is no verdict on video_generation: bad_answer"),
        ("grpo.json#8", "", "row: solution is no verdict on image_generation: bad_answer"),
        (
            "grpo.json#9",
            "",
            "row: the question is of no known form: it holds no 'Text Caption:', nor 'Question:' and two answers",
        ),
        ("grpo.json#10", "7", "row: solution is missing"),
    ]


def test_a_folder_without_a_listing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="problem, solution and images"):
        read(tmp_path)
