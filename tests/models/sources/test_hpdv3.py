"""HPDv3: one JSON array of pairs whose better image is published first."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.hpdv3 import read
from models.sources.rows import InFile, InvalidRow, Row


def row(number: int, **changes: Any) -> dict[str, Any]:
    fields = {
        "prompt": f"prompt {number}",
        "path1": f"images/{number}a.jpg",
        "path2": f"images/{number}b.jpg",
        "model1": "kolors",
        "model2": "sd2",
        "choice_dist": [12, 7],
        "confidence": 0.9999,
    }
    return fields | changes


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_published_rows_are_read_with_their_odd_ones(tmp_path: Path) -> None:
    promptless = row(8)
    del promptless["prompt"]
    rows = [
        row(1),
        row(2, prompt="<b>ein Fuchs</b> 狐 & \u2028", path1="images/a/b/ü.jpg"),
        row(3, choice_dist=[5, 5]),  # no majority
        row(4, choice_dist=None, confidence=None),
        row(5, choice_dist=[0, 0]),  # nobody voted here, so that the order alone speaks
        row(6, id="same"),
        row(7, id="same", choice_dist=[3, 16]),  # which image a count is of is not said
        promptless,
        row(9, prompt=" \n"),
        row(10, path2=None),
        row(11, path2="images/11a.jpg"),
        row(12, path1="../out.jpg", path2="/etc/passwd"),  # for the import to refuse
        "no object",
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    good, bad = split(tmp_path)
    assert Counter(one.preferred for one in good) == {1: 7, "tie": 1} and good[2].preferred == "tie"
    assert [one.id for one in good] == [
        *(f"train.json#{number}" for number in range(1, 6)),
        "same",
        "same",
        "train.json#12",
    ]
    assert {one.task for one in good} == {Task.IMAGE_GENERATION}
    assert good[0].candidates == (InFile("images/1a.jpg"), InFile("images/1b.jpg"))
    assert good[1].prompt == "<b>ein Fuchs</b> 狐 & \u2028" and good[1].candidates[0] == InFile("images/a/b/ü.jpg")
    assert good[7].candidates == (InFile("../out.jpg"), InFile("/etc/passwd"))
    assert [(one.where, one.reason) for one in bad] == [
        ("train.json#8", "row: prompt is missing"),
        ("train.json#9", "row: prompt is empty"),
        ("train.json#10", "row: path2 is missing"),
        ("train.json#11", "row: both candidates are the same"),
        ("train.json#13", "row: is no object but of type str"),
    ]


def test_the_listings_that_name_images_of_other_sets_are_not_read(tmp_path: Path) -> None:
    for name in ("pickapic.json", "imagereward.json"):
        (tmp_path / name).write_text(json.dumps([row(1)]))
    with pytest.raises(DataError, match=r"has no train\.json or all\.json or test\.json: expected train\.json beside"):
        read(tmp_path)
    (tmp_path / "test.json").write_text(json.dumps([row(2)]))
    assert [one.prompt for one in split(tmp_path)[0]] == ["prompt 2"]
    (tmp_path / "train.json").write_text(json.dumps([row(3)]))
    assert [one.prompt for one in split(tmp_path)[0]] == ["prompt 3"]
