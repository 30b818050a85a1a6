"""What a cell should hold, and what is said if it does not."""

from typing import Any

import pytest

from models.benchmarks.cells import Unfit, medium, question, text, two, usable
from models.preference import Task
from models.sources.rows import InFile, InRow, Row, Unusable


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({}, "row: prompt is missing"),
        ({"prompt": None}, "row: prompt is missing"),
        ({"prompt": 3}, "row: prompt is no text but of type int"),
        ({"prompt": "\n\u00a0 "}, "row: prompt is empty"),
        ({"prompt": "half \ud83d of a character"}, "row: prompt holds half a character"),
    ],
)
def test_a_text_that_says_nothing_is_unfit(cells: dict[str, Any], says: str) -> None:
    with pytest.raises(Unfit, match=says):
        text(cells, "prompt")


@pytest.mark.parametrize("value", [None, "ab", ["a"], ["a", "b", "c"], {"a": "b"}])
def test_anything_but_a_list_of_two_is_unfit(value: object) -> None:
    with pytest.raises(Unfit, match="row: response is no list of two but "):
        two({"response": value}, "response")


@pytest.mark.parametrize(
    ("published", "asked"),
    [
        ("<image>\nWhat?", "What?"),
        ("What?\n<image>", "What?"),
        ("<video>\nWhat?", "What?"),
        (" What is an <image> tag? ", "What is an <image> tag?"),
    ],
)
def test_only_a_placeholder_at_an_end_is_taken_off_a_question(published: str, asked: str) -> None:
    assert question(published) == asked


def test_a_medium_is_its_bytes_if_the_row_has_them_and_else_its_path() -> None:
    assert medium({"bytes": b"x", "path": "a/b.PNG"}, "image", "f.parquet#2") == InRow("f.parquet#2/image.PNG", b"x")
    assert medium({"bytes": None, "path": "a/b.png"}, "image", "f.parquet#2") == InFile("a/b.png")
    assert medium("a/b.png", "image", "f.json#2") == InFile("a/b.png")


def test_no_row_is_dropped_and_an_id_that_cannot_be_written_does_no_harm() -> None:
    def make(where: str, cells: dict[str, Any]) -> Row:
        return Row(where, "made", Task.IMAGE_GENERATION, text(cells, "prompt"), (InFile("a"), InFile("b")), 1)

    torn = Unusable("f#4", "", "row: not JSON")
    given = [("f#1", {"prompt": "p"}), ("f#2", {"id": "x\ud83d"}), ("f#3", None), ("f#4", torn), ("f#5", {"id": 5})]
    found = list(usable(given, make))
    assert [one.where for one in found] == ["f#1", "f#2", "f#3", "f#4", "f#5"]
    assert [one.id for one in found] == ["made", "x?", "", "", ""] and found[3] is torn
