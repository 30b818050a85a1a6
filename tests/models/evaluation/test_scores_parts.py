"""The parts of scoring one by one: refusals, lenient readings, the file of rows, and counts."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from models.evaluation import statistics
from models.evaluation.judged_rows import JudgedRow, read_rows, write_rows
from models.evaluation.scores import paired_difference, score
from models.pairs.preference import Candidate, Media, PreferencePair, Preferred, Task
from models.verdict.grammar import Mode

IMAGES, VIDEOS = str(Task.IMAGE_GENERATION), str(Task.VIDEO_GENERATION)
BOLD = (
    "<think>\n1. Aesthetics: **Image 1** (8/10) - calm; Image 2 (3/10) - loud\nTotal score:\nImage 1: 8=8\n"
    "Image 2: 3=3\n</think>\n<answer>Image 1 is better</answer>"
)


def row(pair_id: str = "p0", preferred: Preferred | None = 1, mode: Mode = "think", **more: Any) -> JudgedRow:
    given = {
        "pair_id": pair_id, "task": IMAGES, "group": "g", "mode": mode, "swapped": False, "label": 1, "text": "",
        "preferred": preferred, "fault": "" if preferred else "bad_answer", "position": -1, "sums_agree": True,
        "answer_agrees": True, "truncated": False,
    }  # fmt: skip
    return JudgedRow(**{**given, **more})


def small(*rows: JudgedRow, seed: int = 0) -> dict[str, Any]:
    return score(rows, bootstrap=200, seed=seed)


def test_a_refused_request_is_told_apart_from_a_broken_text() -> None:
    images = tuple(Candidate(media=Media(kind="image", uri=f"{one}.png", sha256=one * 64)) for one in "ab")
    pair = PreferencePair(
        id="p", task=Task.IMAGE_GENERATION, prompt="a hat", candidates=images, preferred=1, source="test"
    )  # fmt: skip
    refused = JudgedRow.read(pair, "think", False, "", False, "too long")
    assert (refused.fault, refused.position) == ("refused: too long", -1)
    assert (refused.refused, refused.parsed, refused.right) == (True, False, False)
    broken = JudgedRow.read(pair, "think", False, "Hm.", False)
    assert (broken.refused, broken.position, broken.mode) == (False, 0, "think")
    got = small(refused, JudgedRow.read(pair.swapped(), "think", True, "Hm.", False), row("q"), row("r", None))
    assert (got["unparsed"], got["valid_rate"]) == (2 / 4, 1 / 4)
    assert got["by_task"][IMAGES]["think"]["unparsed"] == 2 / 4
    assert got["counts"]["think"] == {
        "pairs": 3, "judgments": 4, "parsed": 1, "refused": 1, "right": 1, "ties": 0, "truncated": 0,
        "faults": {"bad_answer": 1, "missing_block": 1, "refused: too long": 1},
    }  # fmt: skip


def test_a_lenient_reading_is_scored_beside_the_strict_one_and_enters_no_other_figure() -> None:
    read = row("a", None, text=BOLD)
    direct = row("a", None, "direct", text="**Image 1** is better!")
    unread = row("b", None, text="Hm.")
    foreign = row("c", None, text=BOLD, task="poems")
    assert [one.lenient for one in (read, direct, unread, foreign, row("d", 2))] == [1, 1, None, None, 2]
    got = small(read, unread, direct, row("v", 2, task=VIDEOS))
    assert got["lenient"]["think"] == {"accuracy": (0.5 + 0.0) / 2, "valid_rate": 2 / 3}
    assert got["lenient"]["direct"] == {"accuracy": 1.0, "valid_rate": 1.0}
    assert (got["think"]["overall"], got["direct"]["overall"]) == (0.0, 0.0)
    assert small(direct)["lenient"]["think"] == {"accuracy": None, "valid_rate": None}


def test_tasks_come_in_their_own_order_and_unknown_ones_last() -> None:
    got = small(row(task="audio"), row(task=VIDEOS), row(task=IMAGES), row(task="poems"))
    assert list(got["think"]) == ["overall", IMAGES, VIDEOS, "audio", "poems"]
    assert list(got["by_task"]) == [IMAGES, VIDEOS, "audio", "poems"]


def test_rows_are_sorted_by_all_that_tells_them_apart_and_compressed(tmp_path: Path) -> None:
    rows = [
        row(task=VIDEOS), row("p1"), row("p0"), row(mode="direct"), row(swapped=True), row(text="b"), row(text="a"),
    ]  # fmt: skip
    write_rows(tmp_path / "rows", rows)
    shown = [(one.task, one.pair_id, one.mode, one.swapped, one.text) for one in read_rows(tmp_path / "rows")]
    assert shown == sorted(shown) and len(shown) == 7
    file = pq.ParquetFile(tmp_path / "rows")
    assert file.schema_arrow.names == [field.name for field in fields(JudgedRow)]
    assert [field.name for field in file.schema_arrow if field.nullable] == ["preferred"]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_groups_interval_does_not_depend_on_other_groups_but_on_the_seed() -> None:
    hats = [row(f"p{at}", 1 + at % 2, group="hats") for at in range(30)]  # type: ignore[arg-type]
    cats = [row(f"q{at}", group="cats") for at in range(9)]
    name = f"{IMAGES}/hats"
    alone, beside = small(*hats)["groups"][name]["think"], small(*hats, *cats)["groups"][name]["think"]
    assert alone == beside and alone["low"] < 0.5 < alone["high"] and alone["sums_agree"] == 1.0
    assert small(*hats, seed=1)["groups"][name]["think"] != alone
    assert small(*hats)["by_task"][IMAGES]["think"] != alone  # as another draw has it


def test_what_is_drawn_does_not_depend_on_how_much_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"p{at}", 1 + at % 2) for at in range(30)]  # type: ignore[arg-type]
    whole = small(*rows)["intervals"]
    for most in (1, 30, 31, 90, 30 * 199):
        monkeypatch.setattr(statistics, "DRAWS_AT_ONCE", most)
        assert small(*rows)["intervals"] == whole


def test_one_resample_is_enough_and_none_is_refused_with_what_to_give() -> None:
    assert score([row()], bootstrap=1, seed=0)["think"]["overall"] == 1.0
    told = "^bootstrap is 0: give at least 1 resample, 1000 or more for usable intervals$"
    with pytest.raises(ValueError, match=told):
        score([row()], bootstrap=0, seed=0)
    for rows in (([], [row()]), ([row()], [])):
        with pytest.raises(DataError, match=r"^no judgments to score: judge at least one pair$"):
            paired_difference(*rows, mode="think", bootstrap=1, seed=0)
    told = r"^image_generation pair 'p0' \(direct, as stored\) has 3 judgments: give one an order and mode$"
    with pytest.raises(DataError, match=told):
        small(*[row(mode="direct")] * 3)


def test_a_difference_has_an_interval_round_it_and_counts_the_pairs_of_all_tasks() -> None:
    rows_b = [row(f"p{at}", 2 if at < 10 else 1, task=task) for at in range(20) for task in (IMAGES, VIDEOS)]
    rows_a = [row(one.pair_id, task=one.task) for one in rows_b]
    found = paired_difference(rows_a, rows_b, mode="think", bootstrap=500, seed=0)
    assert (found.mean, found.pairs) == (0.5, 40)
    # Two tasks of 20 pairs, each a binomial draw of halves: 1.96 * sqrt(1/4/20/2) is 0.155.
    assert (found.low, found.high) == (pytest.approx(0.345, abs=0.03), pytest.approx(0.655, abs=0.03))
    assert paired_difference(rows_a, rows_b, mode="think", bootstrap=500, seed=1) != found
    told = "^the two judges have no pair in common in direct mode: judge both on the same pairs$"
    with pytest.raises(DataError, match=told):
        paired_difference(rows_a, rows_b, mode="direct", bootstrap=5, seed=0)
