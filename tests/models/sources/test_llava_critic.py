"""LLaVA-Critic: two answers to a question about an image, and a judgment in prose that is never guessed at."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.fields import RowError
from models.sources.llava_critic import preferred_by, read
from models.sources.rows import InFile, InRow, InvalidRow, Row

ASKED = (
    "<image>\nGiven an image and a corresponding question, determine which answer is better.\nQuestion: [{question}]\n"
    "The first response: [a line, [thin]]\nThe second response: [a <b>seven</b>]\nASSISTANT:\n"
)
IMAGE = {"bytes": b"png", "path": "7.png"}


def row(judgment: str, name: str | None = "1", question: str = "What is 七?", **changes: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": ASKED.format(question=question)}, {"from": "gpt", "value": judgment}]
    return {"id": name, "source": "llava", "conversations": turns, "image": IMAGE} | changes


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_hub_s_parquet_is_read_with_its_odd_rows(tmp_path: Path) -> None:
    (tmp_path / "pairwise").mkdir()
    (tmp_path / "pointwise").mkdir()
    rows = [
        row("The second response is better, since it is short."),
        row("Both responses are equally good.", "2"),
        row("The first response is better.", "1"),  # an id once more
        row("The first response is better.", None, source=None),
        row("The first response is longer.", "3"),
        row("The first response is better. Yet the second response is better.", "4"),
        row("The first response is better.", "5", image=None),
        row("The first response is better.", "6", question=" "),
        row("The first response is better.", "7", conversations=[]),
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pairwise" / "train-00000-of-00005.parquet")
    pq.write_table(pa.Table.from_pylist([row("87")]), tmp_path / "pointwise" / "train-00000-of-00001.parquet")
    good, bad = split(tmp_path)
    where = "pairwise/train-00000-of-00005.parquet"
    assert Counter(one.preferred for one in good) == {2: 1, "tie": 1, 1: 2}
    assert [(one.id, one.group) for one in good] == [("1", "llava"), ("2", "llava"), ("1", "llava"), (f"{where}#4", "")]
    assert good[0].task == Task.IMAGE_UNDERSTANDING and good[0].prompt == "What is 七?"
    assert good[0].candidates == ("a line, [thin]", "a <b>seven</b>")
    assert good[0].context == (InRow(f"{where}#1/image.png", b"png"),)
    assert [(one.id, one.reason) for one in bad] == [
        ("3", "row: the judgment does not say which is better"),
        ("4", "row: the judgment says 1 and 2"),
        ("5", "row: image is missing"),
        ("6", "row: the question is empty"),
        ("7", "row: conversations hold 0 human and 0 gpt turns, expected one of each"),
    ]


def test_a_json_listing_names_its_images_and_may_name_the_answers_otherwise(tmp_path: Path) -> None:
    (tmp_path / "pairwise").mkdir()
    asked = "<image>\nWhich is better?\nQuestion: What?\nResponse A: one\n\ntwo\nResponse B: three"
    critic = "an image\nQuestion: What?\nAnswer 1: one\nAnswer 2: two\nASSISTANT:\n"
    pointwise = "an image\nQuestion: [What?]\nThe LMM response: [a seven]\nASSISTANT:\n"
    caption = "two images\nText Caption: [a kite]"
    rows = [
        row("Response B is better.", conversations=None, image="a/b/1.jpg") | {"conversations": turns(asked)},
        row("", image="2.jpg", conversations=turns(critic)),
        row("", image="3.jpg", conversations=turns(pointwise)),
        row("", image="3.jpg", conversations=turns(caption)),
    ]
    (tmp_path / "pairwise" / "train_data.json").write_text(json.dumps(rows))
    good, bad = split(tmp_path)
    assert [one.candidates for one in good] == [("one\n\ntwo", "three"), ("one", "two")]
    assert [one.context for one in good] == [(InFile("a/b/1.jpg"),), (InFile("2.jpg"),)]
    assert {one.reason.partition(":")[2].split(":")[0] for one in bad} == {" the question is of no known form"}
    assert len(bad) == 2


def turns(asked: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": asked}, {"from": "gpt", "value": "Answer 2 is better"}]


@pytest.mark.parametrize(
    ("judgment", "preferred"),
    [
        ("The second response is better, since the first is vague.", 2),
        ("The first response is clearly superior to the second response.", 1),
        ("Response 1 is the better response.", 1),
        ("Overall, Answer B is slightly better.", 2),
        ("It is longer. Therefore, the better response is: **Response 2**", 2),
        ("The first is preferred.", 1),
        ("I prefer the second response.", 2),
        ("The second answer outperforms the first.", 2),
        ("Both responses are equally good.", "tie"),
        ("The two answers are comparable.", "tie"),
        ("Neither response is better: it is a tie.", "tie"),
        ("The first response is better in terms of detail, but overall the second wins.", 2),  # one is of an aspect
        ("[[B]]", 2),
        ("1", 1),
        ("Tie.", "tie"),
        ("**The first response**", 1),
    ],
)
def test_a_judgment_says_which_answer_is_better(judgment: str, preferred: object) -> None:
    assert preferred_by(judgment) == preferred


@pytest.mark.parametrize(
    "judgment",
    [
        "",
        "The first response mentions a cross.",
        "The first response is not better.",
        "The second response isn't superior.",
        "The first response is better at describing colours.",  # an aspect alone
        "The first response is better, but the second response is better overall.",
        "Both responses are equally good, though the first response is better.",
        "A good answer a better one would beat.",  # no name of an answer
        "A or B",
        "first or second",
    ],
)
def test_a_judgment_that_says_nothing_or_two_things_is_refused(judgment: str) -> None:
    with pytest.raises(RowError):
        preferred_by(judgment)


def test_a_judgment_of_any_length_is_read_in_one_pass() -> None:
    with pytest.raises(RowError):
        preferred_by("the first response is clearly much " * 20_000)


def test_a_folder_without_a_listing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pairwise/train-"):
        read(tmp_path)
