import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest

from models.errors import DataError
from models.evaluation.judged_rows import JudgedRow, read_rows, write_rows
from models.evaluation.scores import paired_difference, score
from models.pairs.preference import Candidate, Media, PreferencePair, Preferred, Task
from models.verdict.grammar import Dimension, Fault, Mode, Verdict, answer_text
from models.verdict.rendering import render_verdict

IMAGES = str(Task.IMAGE_GENERATION)
VIDEOS = str(Task.VIDEO_GENERATION)


def pair(preferred: Preferred = 1, task: Task = Task.IMAGE_GENERATION) -> PreferencePair:
    first, second = (Candidate(media=Media(kind=task.media_kind, uri=f"{name}.png", sha256=name * 64)) for name in "ab")
    return PreferencePair(
        id="p", task=task, prompt="a hat", candidates=(first, second), preferred=preferred, source="test", group="hats"
    )


def row(
    pair_id: str = "p0",
    *,
    preferred: Preferred | None = 1,
    label: Preferred = 1,
    swapped: bool = False,
    mode: Mode = "think",
    task: str = IMAGES,
    group: str = "g",
    **more: Any,
) -> JudgedRow:
    fields = {
        "pair_id": pair_id, "task": task, "group": group, "mode": mode, "swapped": swapped, "label": label,
        "text": "", "preferred": preferred, "fault": "" if preferred else "bad_answer", "position": -1,
        "sums_agree": True, "answer_agrees": True, "truncated": False,
    }  # fmt: skip
    return JudgedRow(**{**fields, **more})


def both(pair_id: str, first: Preferred | None, second: Preferred | None, **more: Any) -> list[JudgedRow]:
    """A pair whose label is 1 as stored, judged in both orders; what the judge preferred as presented."""
    stored = row(pair_id, preferred=first, label=1, **more)
    return [stored, row(pair_id, preferred=second, label=2, swapped=True, **more)]


def small(rows: Sequence[JudgedRow]) -> dict[str, Any]:
    return score(rows, bootstrap=200, seed=0)


def verdict_text(preferred: Preferred) -> str:
    scores = (8, 3) if preferred == 1 else (3, 8)
    dimensions = (Dimension("Aesthetics", scores, ("calm", "loud")),)
    return render_verdict(Verdict.from_dimensions(Task.IMAGE_GENERATION, dimensions, preferred))


def test_a_valid_text_is_read_with_its_answer_as_presented() -> None:
    read = JudgedRow.read(pair(1).swapped(), "think", True, verdict_text(2), False)
    assert (read.preferred, read.label, read.swapped, read.right) == (2, 2, True, True)
    assert (read.fault, read.position, read.sums_agree, read.answer_agrees) == ("", -1, True, True)
    assert (read.pair_id, read.task, read.group) == ("p", IMAGES, "hats")


def test_an_answer_against_its_own_totals_is_read_but_told() -> None:
    text = verdict_text(1).replace("Image 1 is better", "Image 2 is better")
    read = JudgedRow.read(pair(2), "think", False, text, False)
    assert (read.right, read.sums_agree, read.answer_agrees) == (True, True, False)


def test_a_broken_text_keeps_its_fault_and_position_and_is_never_right() -> None:
    read = JudgedRow.read(pair("tie"), "think", False, verdict_text(1) + " and so on", True)
    assert read.fault == Fault.TEXT_OUTSIDE
    assert read.text[read.position :] == "and so on"
    assert (read.preferred, read.parsed, read.right, read.truncated) == (None, False, False, True)
    assert not read.sums_agree
    assert not read.answer_agrees


def test_rows_come_back_from_parquet_and_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    rows = [*both("p1", 1, "tie"), *both("p0", None, 2, mode="direct"), row("p2", label="tie", text="ß\n\0")]
    for name, order in (("one", rows), ("other", rows[::-1])):
        write_rows(tmp_path / name, order)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert set(read_rows(tmp_path / "one")) == set(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_no_rows_are_written_and_read_as_none(tmp_path: Path) -> None:
    write_rows(tmp_path / "none", [])
    assert read_rows(tmp_path / "none") == []


def test_shares_computed_by_hand() -> None:
    rows = [
        *both("right twice", 1, 2),
        *both("always the first", 1, 1),
        *both("unparsed once", None, 2),
        *both("wrong twice", 2, 1, sums_agree=False),
        row("one order only", preferred=2, label=1, answer_agrees=False),
    ]
    got = small(rows)
    assert got["think"] == {"overall": 4 / 9, IMAGES: 4 / 9}
    assert got["both_orders"] == 1 / 4  # the pair shown in one order does not count
    assert got["valid_rate"] == 8 / 9
    assert got["unparsed"] == 1 / 9
    assert got["position_bias"] == 4 / 8 - 0.5  # first: 1, 1, 1, 1; second: 2, 2, 2, 2
    assert got["sums_agree"] == 6 / 8
    assert got["answer_agrees"] == 7 / 8
    counts = got["counts"]["think"]
    assert (counts["pairs"], counts["judgments"], counts["right"], counts["parsed"]) == (5, 9, 4, 8)
    assert counts["faults"] == {"bad_answer": 1}


def test_a_tie_is_wrong_unless_the_label_is_one_and_has_no_position() -> None:
    got = small([row("a", preferred="tie"), row("b", preferred="tie", label="tie"), row("c", preferred=1)])
    assert got["think"]["overall"] == 2 / 3
    assert got["position_bias"] == 0.5
    assert got["counts"]["think"]["ties"] == 2


def test_overall_is_the_mean_of_the_tasks_whatever_their_sizes() -> None:
    rows = [row(f"i{at}", preferred=1) for at in range(9)] + [row("v", preferred=2, task=VIDEOS)]
    assert small(rows)["think"] == {"overall": 0.5, IMAGES: 1.0, VIDEOS: 0.0}


def test_unparsed_counts_both_modes_and_valid_rate_thinking_alone() -> None:
    rows = [row("a", preferred=None), row("a", mode="direct"), row("b", mode="direct"), row("c", mode="direct")]
    got = small(rows)
    assert (got["unparsed"], got["valid_rate"]) == (0.25, 0.0)
    assert got["direct"]["overall"] == 1.0
    assert got["by_task"][IMAGES]["direct"]["unparsed"] == 0.0
    assert got["by_task"][IMAGES]["direct"]["sums_agree"] is None  # nothing to add up


def test_what_was_not_measured_is_none_and_never_a_default() -> None:
    got = small([row("a", mode="direct")])
    assert got["think"] == {}
    assert got["intervals"]["think"] == {}
    assert [got[name] for name in ("valid_rate", "both_orders", "position_bias", "sums_agree")] == [None] * 4
    unparsed_only = small([row("a", preferred=None)])
    assert (unparsed_only["valid_rate"], unparsed_only["position_bias"]) == (0.0, None)


def test_tasks_and_groups_are_broken_down() -> None:
    rows = [row("a", group="hats"), row("b", preferred=2, group="cats"), row("c", task=VIDEOS, group="hats")]
    got = small(rows)
    assert {name: modes["think"]["accuracy"] for name, modes in got["groups"].items()} == {
        f"{IMAGES}/hats": 1.0, f"{IMAGES}/cats": 0.0, f"{VIDEOS}/hats": 1.0,
    }  # fmt: skip
    measured = got["by_task"][IMAGES]["think"]
    assert (measured["accuracy"], measured["pairs"]) == (0.5, 2)
    assert [measured["low"], measured["high"]] == got["intervals"]["think"][IMAGES]


def test_a_score_has_the_names_that_reports_read_and_no_other() -> None:
    got = small([row("a"), row("b", mode="direct", preferred=2)])
    assert set(got) == {
        "think", "direct", "intervals", "by_task", "groups", "counts", "lenient", "macro",
        "valid_rate", "both_orders", "position_bias", "sums_agree", "answer_agrees", "totals_tie", "unparsed",
    }  # fmt: skip
    assert got["by_task"][IMAGES]["think"]["sums_agree"] == 1.0
    assert got["by_task"][IMAGES]["direct"]["sums_agree"] is None  # direct answers have no sums
    with pytest.raises(KeyError):
        got["by_task"][VIDEOS]


def test_scores_are_json_and_do_not_depend_on_the_order_of_rows() -> None:
    rng = Random(0)
    rows = [
        one
        for task, mode, at in product((IMAGES, VIDEOS), ("think", "direct"), range(30))
        for one in both(f"p{at}", rng.choice([1, 2, None]), rng.choice([1, 2]), task=task, mode=mode)
    ]
    plain = json.dumps(small(rows), sort_keys=True, allow_nan=False)
    assert json.dumps(small(rng.sample(rows, len(rows))), sort_keys=True) == plain


def test_a_task_keeps_its_interval_when_another_is_added() -> None:
    rows = [row(f"p{at}", preferred=1 + at % 2) for at in range(20)]
    more = [*rows, *(replace(one, task=VIDEOS) for one in rows)]
    assert small(rows)["intervals"]["think"][IMAGES] == small(more)["intervals"]["think"][IMAGES]


def test_the_interval_of_one_half_in_a_hundred_pairs_is_the_binomial_one() -> None:
    rows = [row(f"p{at:03d}", preferred=1 + at % 2) for at in range(100)]
    low, high = score(rows, bootstrap=4000, seed=1)["intervals"]["think"]["overall"]
    # Resampling 100 halves is a binomial draw: its 2.5 % and 97.5 % quantiles are 40 and 60.
    assert low == pytest.approx(0.40, abs=0.011)
    assert high == pytest.approx(0.60, abs=0.011)


def test_both_orders_of_a_pair_are_resampled_together() -> None:
    """Two answers that always agree carry the information of one: the interval must not shrink."""
    once = [row(f"p{at:03d}", preferred=1 + at % 2) for at in range(60)]
    twice = [one for at in range(60) for one in both(f"p{at:03d}", 1 + at % 2, 2 - at % 2)]
    widths = [high - low for high, low in (
        score(rows, bootstrap=2000, seed=0)["intervals"]["think"]["overall"][::-1] for rows in (once, twice)
    )]  # fmt: skip
    assert widths[0] == pytest.approx(widths[1], abs=1e-12)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng, truth, held = Random(7), 0.7, 0
    for repeat in range(100):
        rows = [row(f"p{at}", preferred=1 if rng.random() < truth else 2) for at in range(100)]
        low, high = score(rows, bootstrap=300, seed=repeat)["intervals"]["think"]["overall"]
        held += low <= truth <= high
    assert 88 <= held <= 100


def test_no_rows_and_doubled_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no judgments"):
        small([])
    with pytest.raises(DataError, match=r"pair 'p0' \(think, swapped\) has 2 judgments"):
        small([row(), row(swapped=True), row(swapped=True)])
    with pytest.raises(ValueError, match="bootstrap is 0"):
        score([row()], bootstrap=0, seed=0)


def test_the_difference_is_a_minus_b_on_the_common_pairs_only() -> None:
    a = [row("p0"), row("p1"), row("p2"), row("only a"), row("p0", mode="direct")]
    b = [row("p0", preferred=2), row("p1"), row("p2", preferred=None), row("only b", preferred=2)]
    gained = paired_difference(a, b, mode="think", bootstrap=500, seed=0)
    assert (gained.mean, gained.pairs) == (pytest.approx(2 / 3), 3)
    lost = paired_difference(b, a, mode="think", bootstrap=500, seed=0)
    assert (lost.mean, lost.low, lost.high) == (-gained.mean, pytest.approx(-gained.high), pytest.approx(-gained.low))


def test_the_difference_is_a_mean_over_tasks() -> None:
    a = [row("p0"), row("p1"), row("p0", task=VIDEOS)]
    b = [row("p0", preferred=2), row("p1", preferred=2), row("p0", task=VIDEOS)]
    assert paired_difference(a, b, mode="think", bootstrap=10, seed=0).mean == 0.5


@pytest.mark.parametrize(("pairs", "points"), [(3, 0.55), (10, 0.23), (40, 0.066), (400, 0.0069)])
def test_judges_that_agree_on_everything_differ_by_nothing_within_what_so_many_pairs_can_tell(
    pairs: int, points: float
) -> None:
    rows = [row(f"p{at}", preferred=1 + at % 2) for at in range(pairs)]
    gained = paired_difference(rows, rows, mode="think", bootstrap=100, seed=0)
    assert (gained.mean, gained.pairs) == (0.0, pairs)
    assert (gained.low, gained.high) == (pytest.approx(-points, rel=0.02), pytest.approx(points, rel=0.02))


def test_a_judge_that_wins_every_one_of_few_pairs_has_an_interval_too() -> None:
    a = [row(f"p{at}") for at in range(4)] + [row(f"p{at}", task=VIDEOS) for at in range(4)]
    gained = paired_difference(a, [replace(one, preferred=2) for one in a], mode="think", bootstrap=100, seed=0)
    assert (gained.mean, gained.high) == (1.0, 1.0)
    assert 0.2 < gained.low < 0.6


def test_a_pair_won_in_both_orders_is_one_win_of_an_interval_without_resamples() -> None:
    a = [one for at in range(4) for one in both(f"p{at}", 1, 2)]
    lost = [replace(one, preferred=2 if one.label == 1 else 1) for one in a]
    gained = paired_difference(a, lost, mode="think", bootstrap=100, seed=0)
    once = paired_difference([row(f"p{at}") for at in range(4)], [row(f"p{at}", preferred=2) for at in range(4)],
                             mode="think", bootstrap=100, seed=0)  # fmt: skip
    assert (gained.low, gained.mean, gained.high) == pytest.approx((once.low, once.mean, once.high))


def test_pairing_tells_a_small_gain_that_separate_intervals_cannot() -> None:
    b = [row(f"p{at:03d}", preferred=1 + at % 2) for at in range(200)]
    a = [replace(one, preferred=1) if at < 20 else one for at, one in enumerate(b)]  # 10 wrong ones put right
    gained = paired_difference(a, b, mode="think", bootstrap=1000, seed=0)
    assert gained.mean == pytest.approx(0.05)
    assert gained.low > 0.0
    above, below = (score(rows, bootstrap=1000, seed=0)["intervals"]["think"]["overall"] for rows in (a, b))
    assert above[0] < below[1]


def test_a_difference_without_common_pairs_is_refused() -> None:
    with pytest.raises(DataError, match="no pair in common in direct mode"):
        paired_difference([row()], [row()], mode="direct", bootstrap=10, seed=0)


def test_direct_answers_are_read_in_direct_mode() -> None:
    text = answer_text(Task.IMAGE_GENERATION, "tie")
    assert JudgedRow.read(pair(1), "direct", False, text, False).preferred == "tie"
    assert JudgedRow.read(pair(1), "think", False, text, False).fault == Fault.MISSING_BLOCK


def test_an_interval_of_three_right_pairs_is_not_zero_wide() -> None:
    got = score([row(f"p{at}") for at in range(3)], bootstrap=50, seed=0)
    low, high = got["intervals"]["think"]["overall"]
    assert (round(low, 3), high) == (0.439, 1.0)
    assert got["by_task"][IMAGES]["think"]["low"] == pytest.approx(low)
    two_tasks = [row(f"p{at}") for at in range(3)] + [row(f"p{at}", task=VIDEOS) for at in range(3)]
    low_of_two, _ = score(two_tasks, bootstrap=50, seed=0)["intervals"]["think"]["overall"]
    assert low < low_of_two < 1.0
