"""HPDv2: rankings of several images a prompt, of which every pair that differs is one of ours."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.hpdv2 import read
from models.sources.rows import InFile, InvalidRow, Row


def row(**changes: Any) -> dict[str, Any]:
    fields = {"prompt": "a red kite", "human_preference": [0, 1], "file_path": ["1.jpg", "2.jpg"]}
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def ranked(rank: list[Any], **changes: Any) -> dict[str, Any]:
    images = [f"{number}.jpg" for number in range(1, len(rank) + 1)]
    return {"prompt": "a red kite", "image_path": images, "rank": rank, "raw_annotations": []} | changes


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_training_half_is_read_with_its_odd_rows(tmp_path: Path) -> None:
    (tmp_path / "train" / "sub").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg", "sub/ü.jpg"):
        (tmp_path / "train" / name).write_bytes(b"an image")
    rows = [
        row(),
        row(human_preference=[1, 0], prompt="<b>ein Drache</b> 凧 & \u2028", file_path=["sub/ü.jpg", "gone.jpg"]),
        row(human_preference=[1, 1]),
        row(id="same", file_path=..., image_path=["1.jpg", "2.jpg"]),  # as the set's own script calls it
        row(id="same"),
        row(prompt=...),
        row(prompt=" "),
        row(file_path=...),
        row(human_preference=...),
        row(file_path=["../out.jpg", "/etc/passwd"]),  # for the import to refuse
        [],
    ]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    good, bad = split(tmp_path)
    assert [one.id for one in good] == [
        "train.json#1/1-2",
        "train.json#2/1-2",
        "same/1-2",
        "same/1-2",
        "train.json#10/1-2",
    ]
    assert Counter(one.preferred for one in good) == {1: 1, 2: 4}
    assert {one.task for one in good} == {Task.IMAGE_GENERATION}
    assert good[0].candidates == (InFile("train/1.jpg"), InFile("train/2.jpg")) == good[2].candidates
    assert good[1].candidates == (InFile("train/sub/ü.jpg"), InFile("gone.jpg"))
    assert good[1].prompt == "<b>ein Drache</b> 凧 & \u2028" and good[1].preferred == 1
    assert good[4].candidates == (InFile("../out.jpg"), InFile("/etc/passwd"))
    assert [(one.where, one.reason) for one in bad] == [
        ("train.json#3", "tie: all images of the row rank the same"),
        ("train.json#6", "row: prompt is missing"),
        ("train.json#7", "row: prompt is empty"),
        ("train.json#8", "row: file_path is missing"),
        ("train.json#9", "row: human_preference is missing"),
        ("train.json#11", "row: is no object but of type list"),
    ]


def test_a_ranking_gives_the_pairs_that_differ_and_its_lowest_rank_is_the_best(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text(json.dumps([ranked([2, 1, 2, 3])]))
    good, bad = split(tmp_path)
    # Six pairs, of which the first and third image make none.
    assert bad == [] and [(one.id.removeprefix("test.json#1/"), one.preferred) for one in good] == [
        ("1-2", 2),
        ("1-4", 1),
        ("2-3", 1),
        ("2-4", 1),
        ("3-4", 1),
    ]
    assert {one.where for one in good} == {"test.json#1"} and good[1].candidates == (InFile("1.jpg"), InFile("4.jpg"))


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (ranked([1]), "row: image_path names 1 images, expected at least 2"),
        (ranked([1, 2], image_path=["1.jpg", "1.jpg"]), "row: image_path names an image twice"),
        (ranked([1, 2], image_path=["1.jpg", ""]), "row: image_path[1] is empty"),
        (ranked([1, 2], image_path="1.jpg"), "row: image_path is no list but of type str"),
        (ranked([1, 2, 3], image_path=["1.jpg", "2.jpg"]), "row: rank has 3 values for 2 images"),
        (ranked([1, None]), "row: rank[1] is 'None', no finite number"),
        (ranked([1, "2"]), "row: rank[1] is '2', no finite number"),
        (ranked([1, True]), "row: rank[1] is 'True', no finite number"),
    ],
)
def test_a_broken_ranking_gives_no_pair_and_says_why(tmp_path: Path, odd: dict[str, Any], says: str) -> None:
    (tmp_path / "test.json").write_text(json.dumps([odd | {"id": "x"}]))
    assert list(read(tmp_path)) == [InvalidRow("test.json#1", "x", says)]


def test_only_the_training_half_is_read_where_both_are_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected train\.json beside train/"):
        read(tmp_path)
    (tmp_path / "test.json").write_text(json.dumps([ranked([1, 2])]))
    (tmp_path / "train.json").write_text(json.dumps([row()]))
    assert [one.where for one in split(tmp_path)[0]] == ["train.json#1"]
