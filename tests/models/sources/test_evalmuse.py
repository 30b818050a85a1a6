"""EvalMuse pairwise, as UnifiedReward publishes it: conversations whose answer is the label."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.evalmuse import read
from models.sources.rows import InFile, InvalidRow, Row

ASKED = "<image>\n<image>\nCompare the two images.\n\nText Caption: [{}]"


def row(
    number: int, answered: Any = "Image 1 is better.", caption: str | None = None, **changes: Any
) -> dict[str, Any]:
    asked = ASKED.format(f"caption {number}" if caption is None else caption)
    fields = {
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}],
        "images": [f"{number}a.png", f"{number}b.png"],
    }
    return fields | changes


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_published_rows_are_read_with_their_odd_ones(tmp_path: Path) -> None:
    (tmp_path / "images" / "sub").mkdir(parents=True)
    for name in ("1a.png", "1b.png", "sub/ü.png"):
        (tmp_path / "images" / name).write_bytes(b"an image")
    rows = [
        row(1),
        row(2, "Image 2 is better", caption="<b>ein Drache</b> 凧 \u2028 &", images=["sub/ü.png", "gone.png"]),
        row(3, "Both images are equally good."),
        row(4, id="same"),
        row(5, "Image 2 is better.", id="same"),
        row(6, "Image 1 or Image 2 is better."),
        row(7, caption=""),
        row(8, ""),
        row(9, None),
        row(10, images=None),
        row(11, images=["1a.png", "images/1a.png"]),  # one file under two names
        row(12, images=["../out.png", "/etc/passwd"]),  # for the import to refuse
        7,
    ]
    (tmp_path / "pairwise").mkdir()
    (tmp_path / "pairwise" / "train_data.json").write_text(json.dumps(rows))
    name = "pairwise/train_data.json"
    good, bad = split(tmp_path)
    assert Counter(one.preferred for one in good) == {1: 3, 2: 2, "tie": 1} and good[2].preferred == "tie"
    assert [one.id for one in good] == [f"{name}#1", f"{name}#2", f"{name}#3", "same", "same", f"{name}#12"]
    assert {(one.task, one.reasoning) for one in good} == {(Task.IMAGE_GENERATION, "")}
    assert good[0].prompt == "caption 1"
    assert good[0].candidates == (InFile("images/1a.png"), InFile("images/1b.png"))
    assert good[1].prompt == "<b>ein Drache</b> 凧 \u2028 &"
    assert good[1].candidates == (InFile("images/sub/ü.png"), InFile("gone.png"))
    assert good[5].candidates == (InFile("../out.png"), InFile("/etc/passwd"))
    assert [(one.where.removeprefix(name), one.reason) for one in bad] == [
        ("#6", "row: the answer is no verdict: bad_answer"),
        ("#7", "row: the caption is empty"),
        ("#8", "row: the answer is empty"),
        ("#9", "row: the answer is no text but of type NoneType"),
        ("#10", "row: images is missing"),
        ("#11", "row: both candidates are the same"),
        ("#13", "row: is no object but of type int"),
    ]


def test_the_other_listing_is_read_where_the_first_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected pairwise/train_data\.json beside images/"):
        read(tmp_path)
    (tmp_path / "qwen").mkdir()
    (tmp_path / "qwen" / "evalmuse_pairwise_train_data_qwen.json").write_text(json.dumps([row(1)]))
    assert [one.prompt for one in split(tmp_path)[0]] == ["caption 1"]
    (tmp_path / "pairwise").mkdir()
    (tmp_path / "pairwise" / "train_data.json").write_text(json.dumps([row(2)]))
    assert [one.prompt for one in split(tmp_path)[0]] == ["caption 2"]
