"""ImageGen-CoT-Reward-5K: conversations whose answer is a verdict in our grammar, which carries the label."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.imagegen_cot_reward import read
from models.sources.rows import InFile, InvalidRow, Row

ASKED = "<image>\n<image>\nGiven a caption and two images, think and answer.\nText Caption: [{}]"


def verdict(answer: str = "Image 1 is better", heading: str = "Total score:") -> str:
    return (
        "<think>\n"
        "1. Semantic consistency: Image 1 (8/10) - a kite; Image 2 (5/10) - none\n"
        "2. Aesthetics: Image 1 (7/10) - clear; Image 2 (6/10) - dull\n"
        "3. Authenticity: Image 1 (7/10) - real; Image 2 (6/10) - odd\n"
        f"{heading}\nImage 1: 8+7+7=22\nImage 2: 5+6+6=17\n"
        f"</think>\n<answer>{answer}</answer>"
    )


def row(number: int, answered: str | None = None, caption: str | None = None, **changes: Any) -> dict[str, Any]:
    asked = ASKED.format(f"caption {number}" if caption is None else caption)
    fields = {
        "conversations": [
            {"from": "human", "value": asked},
            {"from": "gpt", "value": verdict() if answered is None else answered},
        ],
        "images": [f"images/{number}a.jpg", f"images/{number}b.jpg"],
    }
    return fields | changes


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_pairs_are_read_with_their_reasoning_and_the_label_of_its_answer(tmp_path: Path) -> None:
    mentioned = verdict("Image 2 is better").replace("a kite", "Image 1 is better")
    rows = [
        row(1),
        row(2, mentioned),  # what the reasoning mentions is no label
        row(3, caption="<b>ein Drache</b> 凧 & [two] Text Caption: x", images=["a/b/ü.jpg", "../out.jpg"]),
        row(4, id="same"),
        row(5, verdict("Image 2 is better"), id="same", solution="<answer>Image 2 is better</answer>"),
    ]
    (tmp_path / "train_data.json").write_text(json.dumps(rows))
    good, bad = split(tmp_path)
    assert bad == [] and Counter(one.preferred for one in good) == {1: 3, 2: 2}
    assert [one.id for one in good] == [*(f"train_data.json#{number}" for number in (1, 2, 3)), "same", "same"]
    assert {one.task for one in good} == {Task.IMAGE_GENERATION}
    assert (good[0].prompt, good[0].reasoning) == ("caption 1", verdict())
    assert good[0].candidates == (InFile("images/1a.jpg"), InFile("images/1b.jpg"))
    assert (good[1].preferred, good[1].reasoning) == (2, mentioned)
    assert good[2].prompt == "<b>ein Drache</b> 凧 & [two] Text Caption: x"
    assert good[2].candidates == (InFile("a/b/ü.jpg"), InFile("../out.jpg"))


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (row(1, verdict("Both images are equally good")), "reasoning: bad_answer"),  # thinking knows no tie
        (row(1, verdict("1 or 2")), "reasoning: bad_answer"),
        (row(1, "Image 1 is better"), "reasoning: missing_block"),
        (row(1, verdict() + " So be it."), "reasoning: text_outside"),
        (row(1, verdict().replace("(8/10)", "(11/10)")), "reasoning: score_out_of_range"),
        (row(1, ""), "row: the answer is empty"),
        (row(1, solution="Image 2 is better"), "reasoning: its answer is not the label"),
        (row(1, solution="the second"), "row: solution is no verdict: bad_answer"),
        (row(1, caption=" "), "row: the caption is empty"),
        (row(1, conversations=None), "row: conversations is missing"),
        (
            row(1, conversations=[{"from": "human", "value": "x"}] * 2),
            "row: conversations hold 2 human and 0 gpt turns, expected one of each",
        ),
        (
            row(1, conversations=[{"from": "human", "value": "A kite"}, {"from": "gpt", "value": verdict()}]),
            "row: the question holds no 'Text Caption:'",
        ),
        (row(1, images=["1.jpg"]), "row: images is no list of two but 1 values"),
        (row(1, images=["1.jpg", None]), "row: images[1] is missing"),
        (row(1, images=["1.jpg", "1.jpg"]), "row: both candidates are the same"),
    ],
)
def test_a_row_that_gives_no_pair_says_why(tmp_path: Path, odd: dict[str, Any], says: str) -> None:
    (tmp_path / "train_data.json").write_text(json.dumps([row(7), odd | {"id": "x"}]))
    good, bad = split(tmp_path)
    assert [one.prompt for one in good] == ["caption 7"] and bad == [InvalidRow("train_data.json#2", "x", says)]


def test_a_folder_without_a_listing_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected train_data\.json beside its images"):
        read(tmp_path)
