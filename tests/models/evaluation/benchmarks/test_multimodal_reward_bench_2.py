"""Multimodal RewardBench 2: what our tasks can show of it, in the repository's JSON and in the hub's Parquet."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.evaluation.benchmarks.multimodal_reward_bench_2 import BENCHMARK, read
from models.pairs.preference import Task
from models.sources.rows import InFile, InRow, InvalidRow, Row

FOUND = Path(__file__).parent / "found"
NO_IMAGE = "task: the question has no image, which image_understanding shows"
DRAWN = "task: an answer holds an image, which image_understanding does not show"
NOT_ALONE = "task: a response is not one image alone, which image_generation compares"
FROM_IMAGE = "task: an image is asked for with an image, which image_generation does not show"


def said(words: str) -> list[str]:
    return ["text", words]


def shown(path: str) -> list[str]:
    return ["image", path]


def pair(name: str, asked: list[Any], a: list[Any], b: list[Any], chosen: str = "A") -> dict[str, Any]:
    return {
        "id": name,
        "response_a": {"model_name": "imagen4", "response_content": a},
        "response_b": {"model_name": "flux", "response_content": b},
        "chosen": chosen,
        "human_annotations": [2, 2, 1],
        "prompt_source": "oneigbench",
        "prompt_metadata": {"id": "124"},
        "prompt_content": asked,
    }


def drawn(name: str, **changes: Any) -> dict[str, Any]:
    return pair(name, [said("a fox")], [shown(f"images/{name}_0.jpg")], [shown(f"images/{name}_1.jpg")]) | changes


def reasoned(name: str, **changes: Any) -> dict[str, Any]:
    asked = [shown("input_images/q.jpg"), said("Which is real?")]
    return pair(name, asked, [said("The first.")], [said("The second.")], "B") | changes


T2I = [
    drawn("oneigbench_124"),
    drawn("wise_736", chosen="B", prompt_content=[said("<b>Wasser</b> 水"), said("gefriert")]),
    drawn("t_text", response_a={"response_content": [said("Here it is:"), shown("images/x.jpg")]}),
    drawn("t_edit", prompt_content=[said("make it red"), shown("input_images/x.jpg")]),
    drawn("t_none", response_b={"model_name": "flux", "response_content": []}),
    drawn("t_tie", chosen="tie"),
    drawn("t_bare", prompt_content=[]),
    drawn("t_odd", prompt_content=[["audio", "x.wav"]]),
    drawn("oneigbench_124"),  # its id again
]
REASONING = [
    reasoned("blink_1"),
    reasoned("muir_2", prompt_content=[shown("input_images/a.jpg"), said("against"), shown("input_images/b.jpg")]),
    reasoned("blink_3", response_a={"response_content": [said("Look:"), shown("images/crop.jpg"), said("so A")]}),
    reasoned("no_image", prompt_content=[said("Which?")]),
    reasoned("empty", response_b={"response_content": [said(" ")]}),
]


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def built(root: Path) -> Path:
    for name, pairs in [("t2i", T2I), ("reasoning", REASONING), ("edit", T2I), ("interleaved", T2I)]:
        (root / f"{name}.json").write_text(json.dumps({"pairs": pairs}))
    return root


def test_the_repository_s_files_are_read_with_their_odd_rows(tmp_path: Path) -> None:
    good, bad = split(built(tmp_path))
    assert Counter(one.group for one in good) == {"t2i": 3, "reasoning": 2}
    assert [(one.where, one.id, one.preferred) for one in good] == [
        ("t2i.json#1", "oneigbench_124", 1),
        ("t2i.json#2", "wise_736", 2),
        ("t2i.json#9", "oneigbench_124", 1),
        ("reasoning.json#1", "blink_1", 2),
        ("reasoning.json#2", "muir_2", 2),
    ]
    assert [(one.where, one.id, one.reason) for one in bad] == [
        ("t2i.json#3", "t_text", NOT_ALONE),
        ("t2i.json#4", "t_edit", FROM_IMAGE),
        ("t2i.json#5", "t_none", NOT_ALONE),
        ("t2i.json#6", "t_tie", "row: chosen is 'tie', none of A, B"),
        ("t2i.json#7", "t_bare", "row: prompt is empty"),
        ("t2i.json#8", "t_odd", 'row: prompt holds neither ["text", …] nor ["image", …]'),
        ("reasoning.json#3", "blink_3", DRAWN),
        ("reasoning.json#4", "no_image", NO_IMAGE),
        ("reasoning.json#5", "empty", "row: response_b is empty"),
    ]


def test_an_image_pair_and_a_text_pair_keep_their_order_and_media(tmp_path: Path) -> None:
    good, _ = split(built(tmp_path))
    assert good[1].task is Task.IMAGE_GENERATION and good[1].prompt == "<b>Wasser</b> 水\ngefriert"
    assert good[1].candidates == (InFile("images/wise_736_0.jpg"), InFile("images/wise_736_1.jpg"))
    assert good[3].task is Task.IMAGE_UNDERSTANDING and good[3].candidates == ("The first.", "The second.")
    assert good[3].context == (InFile("input_images/q.jpg"),) and good[3].prompt == "Which is real?"


def test_where_several_images_stand_among_the_words_is_kept(tmp_path: Path) -> None:
    good, _ = split(built(tmp_path))
    assert good[4].context == (InFile("input_images/a.jpg"), InFile("input_images/b.jpg"))
    assert good[4].prompt == "[image 1]\nagainst\n[image 2]"


def test_the_hub_s_parquet_puts_images_where_its_placeholders_stand(tmp_path: Path) -> None:
    def row(name: str, asked: str, images: list[str], a: tuple[str, list[str]], b: tuple[str, list[str]]) -> Any:
        def kept(names: list[str]) -> list[dict[str, Any]]:
            return [{"bytes": one.encode(), "path": f"{one}.jpg"} for one in names]

        return {
            "pair_id": name,
            "prompt_text": asked,
            "prompt_images": kept(images),
            "response_a_text": a[0],
            "response_a_images": kept(a[1]),
            "response_b_text": b[0],
            "response_b_images": kept(b[1]),
            "chosen": "B",
            "prompt_source": "blink",
        }

    rows = {
        "t2i": [row("p1", "a fox", [], ("<image_1>", ["A"]), ("", ["B"])), row("p2", "a fox", [], ("", []), ("", []))],
        "reasoning": [
            row("p3", "<image_1>\nor\n<image_2>?", ["x", "y"], ("one", []), ("two", [])),
            row("p4", "Which?", ["x"], ("one", []), ("see <image_1>", ["z"])),
        ],
    }
    for group, given in rows.items():
        (tmp_path / group).mkdir()
        pq.write_table(pa.Table.from_pylist(given), tmp_path / group / "test-00000-of-00001.parquet")
    (image, text), bad = split(tmp_path)
    where = "test-00000-of-00001.parquet#1"
    assert image.candidates == (
        InRow(f"t2i/{where}/response_a_image_1.jpg", b"A"),
        InRow(f"t2i/{where}/response_b_image_1.jpg", b"B"),
    )
    assert (image.id, image.group, image.preferred) == ("p1", "t2i", 2)
    assert text.prompt == "[image 1]\nor\n[image 2]\n?" and len(text.context) == 2
    assert [(one.id, one.reason) for one in bad] == [("p2", NOT_ALONE), ("p4", DRAWN)]


@pytest.mark.parametrize(
    ("group", "found"), [("reasoning", "reasoning_text_is_a_number"), ("t2i", "t2i_images_are_a_number")]
)
def test_a_cell_of_another_type_costs_its_row_alone(tmp_path: Path, group: str, found: str) -> None:
    """Found by tests/proofs/fuzz.py: each ended the whole benchmark in a traceback."""
    (tmp_path / group).mkdir()
    shutil.copy(FOUND / f"{found}.parquet", tmp_path / group / "test-0.parquet")
    good, bad = split(tmp_path)
    assert not good
    assert ["no text" in one.reason and one.reason.startswith("row: ") for one in bad] == [True]


def test_one_of_its_files_alone_is_read(tmp_path: Path) -> None:
    (tmp_path / "t2i.json").write_text(json.dumps({"pairs": T2I[:2]}))
    assert [one.group for one in split(tmp_path)[0]] == ["t2i", "t2i"]


@pytest.mark.parametrize(
    ("data", "says"),
    [("[]", "holds no list of pairs"), ('{"pairs": {}}', "holds no list of pairs"), ('{"pairs": [', "is not JSON")],
)
def test_a_listing_of_another_form_is_refused_by_name(tmp_path: Path, data: str, says: str) -> None:
    (tmp_path / "t2i.json").write_text(data)
    with pytest.raises(DataError, match=f"t2i.json {says}"):
        list(read(tmp_path))


def test_a_folder_with_only_the_parts_that_no_task_shows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "edit.json").write_text(json.dumps({"pairs": T2I}))
    with pytest.raises(DataError, match=r"has neither t2i\.json nor reasoning\.json"):
        read(tmp_path)


def test_only_figures_of_the_part_that_is_read_whole_are_quoted() -> None:
    assert {name for one in BENCHMARK.quoted for name in one.figures} == {"t2i"}
