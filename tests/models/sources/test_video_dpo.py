"""VideoDPO: the authors' numbered pairs, UnifiedReward's chosen and rejected videos, and its conversations."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.rows import Frames, InFile, InvalidRow, Row
from models.sources.video_dpo import read


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def numbered(first: Any, second: Any, label: Any = 0, **more: Any) -> dict[str, Any]:
    return {"video1": first, "video2": second, "label": label, "frame_caption": "a <i>kite</i> 凧"} | more


def test_numbered_pairs_without_metadata_lie_among_winners_and_losers(tmp_path: Path) -> None:
    rows = [
        numbered(0, 1),
        numbered(25, 24, label=1),
        numbered(0, 1),  # once more
        numbered(0, 1, label=2),
        numbered(0, 0),
        numbered(-1, 1),
        numbered("0", 1),
        numbered(0, 1, frame_caption=""),
        {"video1": 0, "label": 0, "frame_caption": "a kite"},
        numbered(0, 1, label=True),
    ]
    (tmp_path / "pair.json").write_text(json.dumps(rows))
    good, bad = split(tmp_path)
    assert [(one.id, one.preferred) for one in good] == [("pair.json#1", 1), ("pair.json#2", 2), ("pair.json#3", 1)]
    assert good[0].candidates == (InFile("winvideos/000000.mp4"), InFile("losevideos/000000.mp4"))
    assert good[1].candidates == (InFile("losevideos/000012.mp4"), InFile("winvideos/000012.mp4"))
    assert good[0].prompt == "a <i>kite</i> 凧" and good[0].task == Task.VIDEO_GENERATION
    assert [(one.where, one.reason) for one in bad] == [
        ("pair.json#4", "row: label is 2, neither 0 nor 1"),
        ("pair.json#5", "row: both candidates are the same"),
        ("pair.json#6", "row: video1 is -1, no place in a list"),
        ("pair.json#7", "row: video1 is no whole number but of type str"),
        ("pair.json#8", "row: frame_caption is empty"),
        ("pair.json#9", "row: video2 is missing"),
        ("pair.json#10", "row: label is no whole number but of type bool"),
    ]


def test_the_metadata_names_the_numbered_videos(tmp_path: Path) -> None:
    metadata = [{"video": "sub/ü.mp4", "caption": "a"}, {"video": "b.mp4", "caption": "a"}, {"caption": "none"}]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    (tmp_path / "pair.json").write_text(json.dumps([numbered(1, 0), numbered(0, 2), numbered(0, 3)]))
    (good,), bad = split(tmp_path)
    assert good.candidates == (InFile("b.mp4"), InFile("sub/ü.mp4"))
    assert [one.reason for one in bad] == [
        "row: video2 is 2, which metadata.json has no video for",
        "row: video2 is 3, which metadata.json has no video for",
    ]


def test_the_chosen_video_is_the_better_one(tmp_path: Path) -> None:
    rows = [
        {"id": "7", "caption": "a kite", "chosen": "w/x/7.mp4", "rejected": "l/7.mp4"},
        {"id": "7", "caption": "a kite", "chosen": "w/8.mp4", "rejected": "l/8.mp4"},
        {"id": "9", "caption": "a kite", "chosen": "w/9.mp4"},
    ]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    good, (bad,) = split(tmp_path)
    assert [(one.id, one.preferred) for one in good] == [("7", 1), ("7", 1)]
    assert good[0].candidates == (InFile("w/x/7.mp4"), InFile("l/7.mp4"))
    assert (bad.id, bad.reason) == ("9", "row: rejected is missing")


def test_the_published_conversations_may_say_a_tie(tmp_path: Path) -> None:
    def row(answer: str, kind: str = "video", **more: Any) -> dict[str, Any]:
        asked = f"<image>\ntwo {kind}s generated.\nText Caption: [a kite]"
        turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
        return {"conversations": turns, "images": ["winvideos/1/a.jpg", "losevideos/1/a.jpg"]} | more

    videos = ["losevideos/1.mp4", "winvideos/1.mp4"]
    rows = [
        row("Video 1 is better."),
        row("Both videos are equally good."),
        row("Video 2 is better.", images=videos),
        row("Image 1 is better.", kind="image"),
    ]
    (tmp_path / "train_data.json").write_text(json.dumps(rows))
    good, (bad,) = split(tmp_path)
    assert Counter(one.preferred for one in good) == {1: 1, "tie": 1, 2: 1}
    assert good[0].candidates == (Frames(("winvideos/1/a.jpg",)), Frames(("losevideos/1/a.jpg",)))
    assert good[2].candidates == (InFile(videos[0]), InFile(videos[1]))
    assert bad.reason == "row: is a pair of image_generation, expected video_generation"


def test_a_folder_without_a_listing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="beside winvideos/ and losevideos/"):
        read(tmp_path)
