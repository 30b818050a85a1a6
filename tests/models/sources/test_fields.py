"""Fields of published rows: what fits comes back as written, what does not says why."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.pairs.preference import Task
from models.sources import fields
from models.sources.rows import InFile, InRow, InvalidRow, Row


def row(where: str) -> Row:
    return Row(where, where, Task.IMAGE_GENERATION, "a kite", (InFile("1.png"), InFile("2.png")), 1)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "row: prompt is missing"),
        ("", "row: prompt is empty"),
        (" \n\u2003", "row: prompt is empty"),
        (7, "row: prompt is no text but of type int"),
        (["a kite"], "row: prompt is no text but of type list"),
        (json.loads('"a \\ud83d kite"'), "row: prompt holds half a character: surrogates not allowed"),
    ],
)
def test_a_text_that_says_nothing_or_is_none_is_invalid(value: Any, reason: str) -> None:
    with pytest.raises(fields.RowError) as told:
        fields.text({"prompt": value}, "prompt")
    assert str(told.value) == reason


def test_a_text_comes_back_as_it_is_written() -> None:
    assert fields.text({"prompt": " <b>凧</b>\u2028 "}, "prompt") == " <b>凧</b>\u2028 "


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "row: rank is missing"),
        (True, "row: rank is no number but of type bool"),
        ("1", "row: rank is no number but of type str"),
        (float("nan"), "row: rank is nan, no finite number"),
        (float("inf"), "row: rank is inf, no finite number"),
    ],
)
def test_what_is_no_finite_number_is_invalid(value: Any, reason: str) -> None:
    with pytest.raises(fields.RowError) as told:
        fields.number({"rank": value}, "rank")
    assert str(told.value) == reason


def test_a_whole_number_beyond_any_float_is_invalid() -> None:
    with pytest.raises(fields.RowError, match="row: rank is too large a number"):
        fields.number({"rank": 10**400}, "rank")


def test_a_label_outside_the_known_ones_is_named_with_those_that_are() -> None:
    assert fields.label({"vote": " left "}, "vote", {"left": 1, "right": 2}) == 1
    with pytest.raises(fields.RowError, match="row: vote is 'up', none of left, right"):
        fields.label({"vote": "up"}, "vote", {"left": 1, "right": 2})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "row: images is missing"),
        ("1.png", "row: images is no list but of type str"),
        (["1.png"], "row: images is no list of two but 1 values"),
        (["1.png", "2.png", "3.png"], "row: images is no list of two but 3 values"),
    ],
)
def test_what_is_no_list_of_two_is_invalid(value: Any, reason: str) -> None:
    with pytest.raises(fields.RowError) as told:
        fields.two({"images": value}, "images")
    assert str(told.value) == reason


def test_a_medium_is_bytes_in_the_row_or_a_file_by_its_path() -> None:
    assert fields.medium({"bytes": b"x", "path": "a/1.JPG"}, "image1", "d.parquet#3") == InRow(
        "d.parquet#3/image1.JPG", b"x"
    )
    assert fields.medium({"bytes": b"x", "path": None}, "image1", "d.parquet#3") == InRow("d.parquet#3/image1", b"x")
    assert fields.medium({"bytes": None, "path": "a/1.jpg"}, "image1", "d.parquet#3") == InFile("a/1.jpg")
    assert fields.medium("a/1.jpg", "image1", "d.json#3") == InFile("a/1.jpg")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "row: image1 is missing"),
        ({"bytes": None, "path": None}, "row: image1 is missing"),
        ({"bytes": b"", "path": "1.jpg"}, "row: image1 is empty"),
        ({"bytes": "eA==", "path": "1.jpg"}, "row: image1 holds no bytes but str"),
        (4, "row: image1 is no text but of type int"),
    ],
)
def test_a_medium_without_bytes_or_path_is_invalid(value: Any, reason: str) -> None:
    with pytest.raises(fields.RowError) as told:
        fields.medium(value, "image1", "d.parquet#3")
    assert str(told.value) == reason


def test_one_image_twice_is_no_pair() -> None:
    with pytest.raises(fields.RowError, match="row: both candidates are the same"):
        fields.different(InFile("1.png"), InFile("1.png"))
    with pytest.raises(fields.RowError, match="row: both candidates are the same"):
        fields.different(InRow("d#1/chosen", b"x"), InRow("d#1/rejected", b"x"))
    fields.different(InRow("d#1/chosen", b"x"), InRow("d#1/rejected", b"y"))


def test_a_file_is_looked_for_in_the_folder_that_its_listing_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(b"x")
    (tmp_path / "2.png").write_bytes(b"y")
    found = [fields.below(tmp_path, InFile(name), "images") for name in ("1.png", "2.png", "gone.png", "a\0b")]
    assert found == [InFile("images/1.png"), InFile("2.png"), InFile("gone.png"), InFile("a\0b")]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "row: conversations hold 0 human and 0 gpt turns, expected one of each"),
        (
            [{"from": "human", "value": "a"}, {"from": "human", "value": "b"}, "c"],
            "row: conversations hold 2 human and 0 gpt turns, expected one of each",
        ),
        ([{"from": "human", "value": "a"}, {"from": "gpt", "value": " "}], "row: the answer is empty"),
        ([{"from": "human"}, {"from": "gpt", "value": "b"}], "row: the question is no text but of type NoneType"),
    ],
)
def test_a_conversation_that_is_no_question_with_its_answer_is_invalid(turns: Any, reason: str) -> None:
    with pytest.raises(fields.RowError) as told:
        fields.asked_and_answered({"conversations": turns})
    assert str(told.value) == reason


@pytest.mark.parametrize(
    ("asked", "caption"),
    [
        ("Judge.\nText Caption: [a red kite]", "a red kite"),
        ("Judge.\nText Caption: [[a] over [b]]\n", "[a] over [b]"),
        ("Judge.\nText Caption: a sign that says Text Caption: x", "a sign that says Text Caption: x"),
        ("Judge.\nText Caption: [two\nlines <b>凧</b>]", "two\nlines <b>凧</b>"),
    ],
)
def test_the_caption_is_what_stands_after_its_marker(asked: str, caption: str) -> None:
    assert fields.caption(asked) == caption


@pytest.mark.parametrize(
    ("asked", "reason"),
    [("Judge.", "row: the question holds no 'Text Caption:'"), ("Text Caption: []", "row: the caption is empty")],
)
def test_a_question_without_a_caption_is_invalid(asked: str, reason: str) -> None:
    with pytest.raises(fields.RowError) as told:
        fields.caption(asked)
    assert str(told.value) == reason


def test_rows_that_are_invalid_or_none_are_passed_on_with_their_place_and_id() -> None:
    def make(where: str, given: dict[str, Any]) -> Row:
        fields.text(given, "prompt")
        return row(where)

    given = [
        ("d#1", {"prompt": "a kite"}),
        ("d#2", InvalidRow("d#2", "", "row: not JSON: x")),
        ("d#3", ["a kite"]),
        ("d#4", {"id": "four"}),
        ("d#5", {"id": 5}),
    ]
    assert list(fields.valid_rows(given, make)) == [
        row("d#1"),
        InvalidRow("d#2", "", "row: not JSON: x"),
        InvalidRow("d#3", "", "row: is no object but of type list"),
        InvalidRow("d#4", "four", "row: prompt is missing"),
        InvalidRow("d#5", "5", "row: prompt is missing"),
    ]


def test_a_row_of_several_pairs_keeps_those_before_the_one_that_is_invalid() -> None:
    def make(where: str, given: dict[str, Any]) -> Iterator[Row]:
        yield row(f"{where}/1")
        raise fields.RowError("row: the second is missing")

    assert list(fields.expanded([("d#1", {})], make)) == [
        row("d#1/1"),
        InvalidRow("d#1", "", "row: the second is missing"),
    ]


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
    assert fields.question(published) == asked
