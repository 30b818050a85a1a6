"""Pairs as conversations: the task, prompt and answers of the question, the label of the answer block alone."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.conversations import read, read_question
from models.sources.fields import RowError
from models.sources.rows import Frames, InFile, InvalidRow, Row

GENERATED = "Given a caption and two {kind}s, decide. Your task is provided as follows:\nText Caption: [{caption}]"
ASKED = "Given a question and a reference {kind}.\nQuestion: [{question}]\nAnswer 1: [{first}]\nAnswer 2: [{second}]"
THOUGHT = (
    "<think>\n1. Semantic consistency: Image 1 (4/10) - Image 1 is better, I thought; Image 2 (8/10) - all there\n"
    "Total score:\nImage 1: 4=4\nImage 2: 8=8\n</think>\n<answer>Image 2 is better</answer>"
)


def row(question: str, answer: str, images: Any, **more: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"conversations": turns, "images": images} | more


def generated(kind: str, answer: str, images: Any, caption: str = "a red kite", **more: Any) -> dict[str, Any]:
    return row(GENERATED.format(kind=kind, caption=caption), answer, images, **more)


def asked(kind: str, answer: str, images: Any, question: str = "What flies?", **more: Any) -> dict[str, Any]:
    return row(ASKED.format(kind=kind, question=question, first="a dog", second="a kite"), answer, images, **more)


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_pairs_of_all_four_tasks_are_read_with_their_odd_rows(tmp_path: Path) -> None:
    rows = [
        generated("image", THOUGHT, ["a/1.jpg", "tief/ü/2.jpg"], id="a"),
        generated("image", "Both images are equally good.", ["1.jpg", "2.jpg"], "<b>犬</b> [at] dusk", id="a"),
        generated("video", "<answer>Video 1 is better</answer>", ["1/a.jpg", "1/b.jpg", "2/a.jpg", "2/b.jpg"]),
        generated("video", "Video 2 is better", ["1.mp4", "2.MP4"]),
        asked("image", "Answer 2 is better", ["1.jpg", "2.jpg"], "<image>\nWhat flies?"),
        asked("video", "Answer 1 is better", ["1.jpg", "2.jpg", "3.jpg"]),
        asked("video", "Answer 1 is better", None, video="v.webm"),
        {"images": ["1.jpg", "2.jpg"]},
        generated("image", "Image 2 is better", None),
        generated("image", "Image 2 is better", ["1.jpg"]),
        generated("image", "Image 2 is better", ["1.jpg", "1.jpg"]),
        generated("video", "Video 2 is better", ["1.jpg", "2.jpg", "3.jpg"]),
        generated("video", "Image 2 is better", ["1.jpg", "2.jpg"]),
        generated("image", "1 or 2", ["1.jpg", "2.jpg"]),
        asked("video", "Answer 1 is better", [], id="none"),
        "not a row",
    ]
    (tmp_path / "train_data.json").write_text(json.dumps(rows), encoding="utf-8")
    good, bad = split(tmp_path)
    assert Counter(one.task for one in good) == {
        Task.IMAGE_GENERATION: 2,
        Task.VIDEO_GENERATION: 2,
        Task.IMAGE_UNDERSTANDING: 1,
        Task.VIDEO_UNDERSTANDING: 2,
    }
    assert [one.preferred for one in good] == [2, "tie", 1, 2, 2, 1, 1]
    assert [one.id for one in good] == ["a", "a", *(f"train_data.json#{number}" for number in range(3, 8))]
    assert [one.reasoning for one in good] == [THOUGHT, "", "", "", "", "", ""]
    assert good[0].candidates == (InFile("a/1.jpg"), InFile("tief/ü/2.jpg"))
    assert good[1].prompt == "<b>犬</b> [at] dusk"
    assert good[2].candidates == (Frames(("1/a.jpg", "1/b.jpg")), Frames(("2/a.jpg", "2/b.jpg")))
    assert good[3].candidates == (InFile("1.mp4"), InFile("2.MP4"))
    assert good[4].candidates == ("a dog", "a kite") and good[4].prompt == "What flies?"
    assert good[4].context == (InFile("1.jpg"), InFile("2.jpg"))
    assert good[5].context == (Frames(("1.jpg", "2.jpg", "3.jpg")),)
    assert good[6].context == (InFile("v.webm"),)
    assert [(one.where, one.reason) for one in bad] == [
        ("train_data.json#8", "row: conversations is missing"),
        ("train_data.json#9", "row: names its media in no field, expected one of images and videos"),
        ("train_data.json#10", "row: names 1 images, expected two"),
        ("train_data.json#11", "row: both candidates are the same"),
        ("train_data.json#12", "row: images is 3 frames, which two videos cannot share equally"),
        ("train_data.json#13", "row: the answer is no verdict on video_generation: bad_answer"),
        ("train_data.json#14", "row: the answer is no verdict on image_generation: bad_answer"),
        ("train_data.json#15", "row: images is empty"),
        ("train_data.json#16", "row: is no object but of type str"),
    ]
    assert bad[-2].id == "none"


def test_a_verdict_that_the_reasoning_merely_mentions_does_not_count(tmp_path: Path) -> None:
    loose = "<think>Image 1 is better. <answer>Image 1 is better</answer></think>\n<answer>Image 2 is better</answer>"
    unended = "<think>so <answer>Image 1 is better</answer>"
    empty = "<think>Image 1 is better</think>"
    rows = [generated("image", answer, ["1.jpg", "2.jpg"]) for answer in (loose, unended, empty)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (good,), bad = split(tmp_path)
    assert (good.preferred, good.reasoning) == (2, ""), "reasoning outside the grammar is left out"
    assert [one.where for one in bad] == ["mine.jsonl#2", "mine.jsonl#3"]


@pytest.mark.parametrize(
    ("question", "task", "parts"),
    [
        ("Two generated images:\nText Caption: a kite", "image_generation", ["a kite"]),
        ("<image>\nTwo generated videos:\nText Caption: [a kite]\n", "video_generation", ["a kite"]),
        ("the generated videos is: 「a kite」. The frames", "video_generation", ["a kite"]),
        ("the generated images is: 「a 「red」 kite」. You", "image_generation", ["a 「red」 kite"]),
        ("a video\nQuestion: [q]\nResponse 1: [a]\nResponse 2: [b]", "video_understanding", ["q", "a", "b"]),
        ("an image\nQuestion: q\nAnswer 1: a\nAnswer 2: b [c]\n", "image_understanding", ["q", "a", "b [c]"]),
        # The example in a prompt's layout names the answers too, before the question.
        (
            "an image\nAnswer 1: 9+8=17\nAnswer 2: 7+8=15\nQuestion: [q [1]]\nAnswer 1: [a\nb]\nAnswer 2: [c]",
            "image_understanding",
            ["q [1]", "a\nb", "c"],
        ),
        (
            "image: The question is: 「q」. Two:\n        Answer 1: 「a」\nAnswer 2: 「b」\n\n2. You must now",
            "image_understanding",
            ["q", "a", "b"],
        ),
        (
            "video, following question: 「q」.\n        - Answer 1: a\n        - Answer 2: b\n\n        2. You must",
            "video_understanding",
            ["q", "a", "b"],
        ),
        (
            "an image\nQuestion: What does 'Text Caption: [' mean?\nAnswer 1: a\nAnswer 2: b",
            "image_understanding",
            ["What does 'Text Caption: [' mean?", "a", "b"],
        ),
    ],
)
def test_every_published_question_is_understood(question: str, task: str, parts: list[str]) -> None:
    told = read_question(question)
    assert told.task == task
    assert [told.prompt, *told.answers] == parts


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What is this?", "is of no known form"),
        ("an image\nQuestion: [q]\nAnswer 1: [a]", "is of no known form"),
        ("two pictures\nText Caption: [a kite]", "neither of images nor of videos"),
        ("two images\nText Caption: [ ]", "the caption is empty"),
        ("an image\nQuestion: q\nAnswer 1: a\nAnswer 2: \n", "answer 2 is empty"),
        ("an image\nQuestion: q\nAnswer 1: a\nAnswer 2: a", "both candidates are the same"),
        ("an image\nQuestion: q\nAnswer 1: a\nAnswer 2: b\nAnswer 2: c", "'Answer 2:' stands twice"),
    ],
)
def test_a_question_that_cannot_be_taken_apart_is_refused(question: str, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        read_question(question)


def test_a_folder_without_a_listing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="conversations beside the media"):
        read(tmp_path)
