"""Rapidata's preferences on 4o's images: the hub's Parquet, whose weighted votes become labels."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.pairs.preference import Task
from models.sources.gpt4o_t2i import read
from models.sources.rows import InRow, InvalidRow, Row

NAME = "data/train-00000-of-00001.parquet"
QUESTIONS = ("preference", "alignment", "coherence")
SHARES = [f"weighted_results_image{image}_{question}" for question in QUESTIONS for image in (1, 2)]
SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        *((name, pa.struct([("bytes", pa.binary()), ("path", pa.string())])) for name in ("image1", "image2")),
        *((name, pa.string()) for name in ("model1", "model2")),
        *((name, pa.float32()) for name in SHARES),
        *((f"detailed_results_{question}", pa.string()) for question in QUESTIONS),
    ]
)


def image(name: str) -> dict[str, Any]:
    return {"bytes": name.encode(), "path": f"{name}.jpg"}


def row(number: int, first: float | None, **changes: Any) -> dict[str, Any]:
    """A row whose first image has this share of the votes on preference, and all of those on the other questions."""
    fields = {"prompt": f"prompt {number}", "image1": image(f"left {number}"), "image2": image(f"right {number}")}
    shares = dict.fromkeys(SHARES, 0.0) | {name: 1.0 for name in SHARES if "image1" in name}
    shares |= {SHARES[0]: first, SHARES[1]: None if first is None else 1 - first}  # type: ignore[dict-item]
    return fields | {"model1": "4o", "model2": "flux-1.1-pro"} | shares | changes


def write(root: Path, rows: list[dict[str, Any]], *, schema: pa.Schema = SCHEMA) -> None:
    (root / "data").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), root / NAME)


def split(root: Path) -> tuple[list[Row], list[InvalidRow]]:
    found = list(read(root))
    return [one for one in found if isinstance(one, Row)], [one for one in found if isinstance(one, InvalidRow)]


def test_the_hub_s_rows_are_read_with_their_odd_ones(tmp_path: Path) -> None:
    rows = [
        row(1, 0.8),
        row(2, 0.3, prompt="<b>ein Fuchs</b> 狐 & \u2028", image1={"bytes": b"x", "path": "a/b/ü.png"}),
        row(3, 0.5),
        row(4, 0.51),  # a narrow win is one
        row(1, 0.2),  # the same pair asked about again
        row(6, None),
        row(7, float("nan")),
        row(8, 0.9, prompt=""),
        row(9, 0.9, image2=None),
        row(10, 0.9, image1=image("one"), image2=image("one")),
    ]
    write(tmp_path, rows)
    good, bad = split(tmp_path)
    assert Counter(one.preferred for one in good) == {1: 2, 2: 2, "tie": 1} and good[2].preferred == "tie"
    assert [one.id for one in good] == [f"{NAME}#{number}" for number in range(1, 6)]
    assert {one.task for one in good} == {Task.IMAGE_GENERATION}
    assert good[0].candidates == (InRow(f"{NAME}#1/image1.jpg", b"left 1"), InRow(f"{NAME}#1/image2.jpg", b"right 1"))
    assert good[1].prompt == "<b>ein Fuchs</b> 狐 & \u2028" and good[1].candidates[0] == InRow(
        f"{NAME}#2/image1.png", b"x"
    )
    assert [(one.where, one.reason) for one in bad] == [
        (f"{NAME}#6", "row: weighted_results_image1_preference is missing"),
        (f"{NAME}#7", "row: weighted_results_image1_preference is 'nan', no finite number"),
        (f"{NAME}#8", "row: prompt is empty"),
        (f"{NAME}#9", "row: image2 is missing"),
        (f"{NAME}#10", "row: both candidates are the same"),
    ]


def test_the_other_questions_are_aspects_where_they_were_asked(tmp_path: Path) -> None:
    rows = [
        row(1, 0.8),
        row(2, 0.8, weighted_results_image1_alignment=0.25, weighted_results_image2_alignment=0.75),
        row(3, 0.8, weighted_results_image1_coherence=None),
        row(4, 0.8, weighted_results_image1_alignment=float("nan"), weighted_results_image2_coherence=1.0),
    ]
    write(tmp_path, rows)
    good, bad = split(tmp_path)
    assert bad == [] and [one.aspects for one in good] == [
        (("alignment", 1), ("coherence", 1)),
        (("alignment", 2), ("coherence", 1)),
        (("alignment", 1),),
        (("coherence", "tie"),),
    ]


def test_float32_s_rounding_is_a_tie_and_a_single_vote_is_none(tmp_path: Path) -> None:
    name, other = SHARES[:2]
    write(tmp_path, [row(1, 0.5) | {name: 0.5 + 6e-8}, row(2, 0.5) | {name: 0.5001, other: 0.4999}])
    assert [one.preferred for one in split(tmp_path)[0]] == ["tie", 1]


def test_a_repeated_id_is_passed_on_and_a_missing_column_named(tmp_path: Path) -> None:
    schema = SCHEMA.append(pa.field("id", pa.string()))
    write(tmp_path, [row(1, 0.8, id="a"), row(2, 0.2, id="a")], schema=schema)
    assert [(one.id, one.preferred) for one in split(tmp_path)[0]] == [("a", 1), ("a", 2)]
    write(tmp_path, [row(1, 0.8)], schema=SCHEMA.remove(SCHEMA.get_field_index(SHARES[1])))
    assert [one.reason for one in split(tmp_path)[1]] == ["row: weighted_results_image2_preference is missing"]


def test_a_folder_without_parquet_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the hub's data/train-\*\.parquet"):
        read(tmp_path)
