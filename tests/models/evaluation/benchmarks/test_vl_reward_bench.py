"""VL-RewardBench in its published layouts: the better answer, the official groups, and what is no pair."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.evaluation.benchmarks.vl_reward_bench import BENCHMARK, group_of, read
from models.pairs.preference import Task
from models.sources.rows import InFile, InRow, InvalidRow, Row


def row(name: str, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": name,
        "query": "How many flags can be seen?",
        "response": ["There are many.", "There are 27 flags."],
        "image": f"{name}.jpg",
        "human_ranking": [0, 1],
        "models": ["OmniLMM-12B", "OmniLMM-12B"],
        "judge": "human",
        "rationale": None,
        "query_source": "VQAv2",
        "meta": {},
        "human_error_analysis": ["counting"],
    }
    return fields | changes


ODD = [
    row("RLAIF-V-14"),
    row("wildvision-battle-3", human_ranking=[1, 0]),
    row("LRVInstruction-000000007746", query="Où est le chien ? 犬はどこ", image="nested/ein Hund.jpg"),
    row("mathverse_3414", query="<p>Find <b>AF</b> & AB</p>", response=["<i>AB</i>", "a < b"]),
    row("hallucination_pair-1942", query="<image>\nDescribe this image in detail."),
    row("RLHF-V-7", human_ranking=[0, 0]),  # a tie
    row("RLAIF-V-14"),  # the same row again
    row("RLAIF-V-14", response=["Two.", "Three."]),  # another row of the same id
    row("mmmu_pro_test_Art_1", response=["fine", "  "]),
    row("mmmu_pro_test_Art_2", image=None),
    row("mmmu_pro_test_Art_3", human_ranking=[0]),
    row("mmmu_pro_test_Art_4", human_ranking=["first", "second"]),
    row("mmmu_pro_test_Art_5", query=""),
    "no object",
]


def written(root: Path, rows: list[Any]) -> Path:
    (root / "images" / "nested").mkdir(parents=True)
    (root / "images" / "nested" / "ein Hund.jpg").write_bytes(b"a picture")
    (root / "data.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return root


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_odd_rows_are_read_or_left_out_with_their_line_and_reason(tmp_path: Path) -> None:
    rows, invalid = split(written(tmp_path, ODD))
    assert [one.where for one in rows] == [f"data.json#{number}" for number in range(1, 9)]
    assert Counter(one.group for one in rows) == {"general": 2, "hallucination": 5, "reasoning": 1}
    assert Counter(one.preferred for one in rows) == {1: 6, 2: 1, "tie": 1}
    assert [(one.where, one.id, one.reason) for one in invalid] == [
        ("data.json#9", "mmmu_pro_test_Art_1", "row: response 2 is empty"),
        ("data.json#10", "mmmu_pro_test_Art_2", "row: image is missing"),
        ("data.json#11", "mmmu_pro_test_Art_3", "row: human_ranking is no list of two but 1 values"),
        (
            "data.json#12",
            "mmmu_pro_test_Art_4",
            "row: human_ranking is ['first', 'second'], no two ranks such as [0, 1]",
        ),
        ("data.json#13", "mmmu_pro_test_Art_5", "row: query is empty"),
        ("data.json#14", "", "row: is no object but of type str"),
    ]


def test_the_lower_rank_is_the_better_answer_and_the_published_order_stays(tmp_path: Path) -> None:
    (first, second), _ = split(written(tmp_path, ODD[:2]))
    assert first.candidates == second.candidates == ("There are many.", "There are 27 flags.")
    assert (first.preferred, second.preferred) == (1, 2)
    assert first.task is Task.IMAGE_UNDERSTANDING


def test_texts_come_through_as_they_are_but_for_the_placeholder_of_the_image(tmp_path: Path) -> None:
    rows, _ = split(written(tmp_path, [*ODD[2:5], row("hallucination_pair-1", query="What is it?\n<image>")]))
    assert [one.prompt for one in rows] == [
        "Où est le chien ? 犬はどこ",
        "<p>Find <b>AF</b> & AB</p>",
        "Describe this image in detail.",
        "What is it?",
    ]
    assert rows[1].candidates == ("<i>AB</i>", "a < b")


def test_an_image_is_looked_for_below_images_too_and_else_named_as_published(tmp_path: Path) -> None:
    (here, gone), _ = split(written(tmp_path, [ODD[2], ODD[0]]))
    assert here.context == (InFile("images/nested/ein Hund.jpg"),)
    assert gone.context == (InFile("RLAIF-V-14.jpg"),)


def test_an_id_that_other_content_bears_again_gets_a_number_and_a_repeated_row_does_not(tmp_path: Path) -> None:
    swapped = row("RLAIF-V-14", response=["There are 27 flags.", "There are many."], human_ranking=[1, 0])
    rows, _ = split(written(tmp_path, [ODD[0], ODD[6], ODD[7], swapped, ODD[7]]))
    assert [one.id for one in rows] == ["RLAIF-V-14", "RLAIF-V-14", "RLAIF-V-14~2", "RLAIF-V-14", "RLAIF-V-14~2"]


def test_the_repository_s_listing_has_the_image_under_another_name(tmp_path: Path) -> None:
    given = row("RLAIF-V-14") | {"image_path": "images/rlaif-v/RLAIF-V-14.jpg"}
    del given["image"]
    (tmp_path / "data.jsonl").write_text(json.dumps(given) + "\n{broken\n", encoding="utf-8")
    (good,), (bad,) = split(tmp_path)
    assert good.context == (InFile("images/rlaif-v/RLAIF-V-14.jpg"),)
    assert bad.where == "data.jsonl#2" and bad.reason.startswith("row: not JSON")


@pytest.mark.parametrize("file", ["data/test-00000-of-00001.parquet", "test/rlaif-v.parquet"])
def test_the_hub_s_parquet_holds_its_images(tmp_path: Path, file: str) -> None:
    rows = [
        row("RLAIF-V-14", meta="{}", image={"bytes": b"\x89PNG", "path": "RLAIF-V-14.png"}, ground_truth=None),
        row("mmmu_pro_1", meta="{}", image={"bytes": None, "path": None}, ground_truth="B"),
        row("wildvision-battle-1", meta="{}", image={"bytes": b"GIF8", "path": None}, human_ranking=[1, 0]),
    ]
    (tmp_path / file).parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / file)
    (first, last), (missing,) = split(tmp_path)
    assert first.context == (InRow(f"{file}#1/image.png", b"\x89PNG"),)
    assert last.context == (InRow(f"{file}#3/image", b"GIF8"),)
    assert (first.preferred, last.preferred) == (1, 2) and (first.group, last.group) == ("hallucination", "general")
    assert (missing.where, missing.id, missing.reason) == (f"{file}#2", "mmmu_pro_1", "row: image is missing")


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("wildvision-battle-1a2b", "general"),
        ("wildvision_1", "general"),
        ("LRVInstruction-000000007746", "general"),  # VLFeedback: pairs bear the names of the sets it was made from
        ("VLFeedback-12", "general"),
        ("svit-conversation-5", "general"),
        ("plain", "general"),
        ("hallucination_pair-1942", "hallucination"),  # POVID; the reference scripts take it for general
        ("hallucination_pair_7", "hallucination"),
        ("RLAIF-V-14", "hallucination"),
        ("RLHF-V-3", "hallucination"),
        ("mathverse_3414", "reasoning"),
        ("mmmu_pro_test_Energy_and_Power_312", "reasoning"),
        ("mmmu_pro_validation_Public_Health_1", "reasoning"),
    ],
)
def test_the_start_of_an_id_tells_its_official_group(name: str, group: str) -> None:
    assert group_of(name) == group
    assert group in BENCHMARK.groups


def test_the_official_counts_come_out_for_ids_in_the_official_shares(tmp_path: Path) -> None:
    counts = {"wildvision-battle-": 150, "LRVInstruction-": 33, "hallucination_pair-": 500, "RLAIF-V-": 200}
    counts |= {"RLHF-V-": 49, "mathverse_": 150, "mmmu_pro_test_": 168}
    rows, invalid = split(
        written(tmp_path, [row(f"{start}{n}") for start, count in counts.items() for n in range(count)])
    )
    assert invalid == []
    assert Counter(one.group for one in rows) == {"general": 183, "hallucination": 749, "reasoning": 318}


def test_a_folder_without_a_listing_is_refused_with_the_layouts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no data\.json .*expected data\.json or data\.jsonl beside images/"):
        read(tmp_path)
