"""The macro average over kinds: where there are kinds, its figures by hand, and intervals that resample within them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from models.errors import DataError
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.kinds import LEAST_PAIRS, MOST_KINDS, strata
from models.evaluation.scores import paired_difference, score
from models.evaluation.statistics import mean_interval, paired_interval
from models.pairs.preference import Preferred, Task
from models.verdict.grammar import Dimension, Mode, Verdict
from models.verdict.rendering import render_verdict

IMAGES, VIDEOS = str(Task.IMAGE_GENERATION), str(Task.VIDEO_GENERATION)
Right = tuple[bool, bool]  # as stored, and swapped


def rows_of(kind: str, answers: Sequence[Right], *, task: str = IMAGES, mode: Mode = "think") -> list[JudgedRow]:
    """A judge's answers to the pairs of one kind, in both orders; the label is 1 as stored."""
    made = []
    for number, both in enumerate(answers):
        for swapped, right in zip((False, True), both, strict=True):
            label: Preferred = 2 if swapped else 1
            made.append(
                JudgedRow(
                    pair_id=f"{task}-{kind}-{number:03d}",
                    task=task,
                    group=kind,
                    mode=mode,
                    swapped=swapped,
                    label=label,
                    text="",
                    preferred=label if right else 3 - label,
                    fault="",
                    position=-1,
                    sums_agree=True,
                    answer_agrees=True,
                    truncated=False,
                )
            )
    return made


BOTH, NEITHER, ONE = (True, True), (False, False), (True, False)


def small(rows: Sequence[JudgedRow], **more: Any) -> dict[str, Any]:
    return score(rows, **{"bootstrap": 200, "seed": 0, **more})


def three_kinds() -> list[JudgedRow]:
    """Of images 10 pairs of `cut`, all right, and 30 of `blur`, half of them; of videos 20 of `jump`, in one order."""
    return [
        *rows_of("cut", [BOTH] * 10),
        *rows_of("blur", [BOTH, NEITHER] * 15),
        *rows_of("jump", [ONE] * 20, task=VIDEOS),
    ]


def test_the_macro_average_is_the_mean_over_kinds_whatever_their_pairs() -> None:
    got = small(three_kinds())
    assert got["think"]["overall"] == (25 / 40 + 0.5) / 2
    macro = got["macro"]["think"]
    assert macro["accuracy"] == pytest.approx((1.0 + 0.5 + 0.5) / 3)
    assert macro["over"] == "kinds" and "direct" not in got["macro"]
    assert {name: (one["accuracy"], one["pairs"]) for name, one in macro["kinds"].items()} == {
        f"{IMAGES}/blur": (0.5, 30), f"{IMAGES}/cut": (1.0, 10), f"{VIDEOS}/jump": (0.5, 20),
    }  # fmt: skip
    for name, one in macro["kinds"].items():
        measured = got["groups"][name]["think"]
        assert one == {key: measured[key] for key in ("accuracy", "low", "high", "pairs")}


def unnamed() -> list[JudgedRow]:
    return [*rows_of("cut", [BOTH] * 20), *rows_of("", [NEITHER] * 20)]


def without_end() -> list[JudgedRow]:
    return [row for at in range(MOST_KINDS + 1) for row in rows_of(f"k{at}", [BOTH] * LEAST_PAIRS)]


def too_few_pairs() -> list[JudgedRow]:
    return [*rows_of("cut", [BOTH] * 20), *rows_of("blur", [NEITHER] * (LEAST_PAIRS - 1))]


def one_a_task() -> list[JudgedRow]:
    return [*rows_of("web", [BOTH] * 20), *rows_of("web", [NEITHER] * 20, task=VIDEOS)]


def some_tasks_alone() -> list[JudgedRow]:
    return [*three_kinds(), *rows_of("", [BOTH] * 20, task="poems")]


@pytest.mark.parametrize("made", [unnamed, without_end, too_few_pairs, one_a_task, some_tasks_alone])
def test_without_kinds_of_every_task_the_macro_average_is_over_tasks(made: Any) -> None:
    got = small(made())
    macro = got["macro"]["think"]
    assert (macro["over"], macro["kinds"]) == ("tasks", {})
    assert macro["accuracy"] == got["think"]["overall"]
    assert [macro["low"], macro["high"]] == got["intervals"]["think"]["overall"]


@pytest.mark.parametrize("kinds", [2, MOST_KINDS])
def test_few_kinds_with_pairs_enough_are_kinds(kinds: int) -> None:
    rows = [row for at in range(kinds) for row in rows_of(f"k{at:02d}", [BOTH] * LEAST_PAIRS)]
    found = strata(rows)
    assert found.over == "kinds"
    assert [len(of_kind) for of_kind in found.rows.values()] == [2 * LEAST_PAIRS] * kinds
    assert list(found.rows) == [f"{IMAGES}/k{at:02d}" for at in range(kinds)]


def test_pairs_are_resampled_within_their_kind_alone() -> None:
    """All of one kind right and none of the other: within them nothing varies, over the task's pairs it does."""
    got = small([*rows_of("cut", [BOTH] * 10), *rows_of("blur", [NEITHER] * 30)])
    macro = got["macro"]["think"]
    assert (macro["low"], macro["high"]) == pytest.approx(mean_interval([(0.0, 30), (1.0, 10)]))
    low, high = got["intervals"]["think"]["overall"]
    assert low < 0.2 < 0.3 < high


def test_the_interval_of_the_macro_average_by_hand() -> None:
    """Half of 20 pairs and half of 80: a share varies by 1/4/n, the mean of both by (1/80 + 1/320) / 4."""
    rows = [*rows_of("cut", [BOTH, NEITHER] * 10), *rows_of("blur", [BOTH, NEITHER] * 40)]
    macro = small(rows, bootstrap=4000)["macro"]["think"]
    half = 1.96 * math.sqrt((1 / 80 + 1 / 320) / 4)
    assert (macro["low"], macro["high"]) == (pytest.approx(0.5 - half, abs=0.01), pytest.approx(0.5 + half, abs=0.01))


def test_both_orders_of_a_pair_stay_together() -> None:
    """Answers that agree within each pair carry no more than one: it is the variance of 20 pairs, not of 40 answers."""
    agreeing = [*rows_of("cut", [BOTH, NEITHER] * 10), *rows_of("blur", [BOTH, NEITHER] * 10)]
    turned = [*rows_of("cut", [ONE, (False, True)] * 10), *rows_of("blur", [ONE, (False, True)] * 10)]
    macro = small(agreeing, bootstrap=4000)["macro"]["think"]
    half = 1.96 * math.sqrt(2 / 80 / 4)
    assert macro["high"] - macro["low"] == pytest.approx(2 * half, abs=0.02)
    macro = small(turned)["macro"]["think"]  # every pair is right once: nothing varies but what so few pairs leave open
    assert (macro["low"], macro["high"]) == pytest.approx(mean_interval([(0.5, 20), (0.5, 20)]))


def test_a_kinds_interval_does_not_depend_on_other_kinds() -> None:
    alone = small([*rows_of("cut", [BOTH, NEITHER] * 10), *rows_of("blur", [BOTH] * 10)])
    more = small([*rows_of("cut", [BOTH, NEITHER] * 10), *rows_of("blur", [ONE] * 40), *rows_of("jump", [ONE] * 10)])
    name = f"{IMAGES}/cut"
    assert alone["macro"]["think"]["kinds"][name] == more["macro"]["think"]["kinds"][name]


def test_the_difference_over_kinds_by_hand() -> None:
    """A over B: +1 on 10 of 20 pairs of one kind, -1/2 on 10 of 40 of another, nothing on 20 of the third."""
    b = [
        *rows_of("cut", [NEITHER] * 20), *rows_of("blur", [BOTH] * 40), *rows_of("jump", [BOTH] * 20, task=VIDEOS),
    ]  # fmt: skip
    a = [
        *rows_of("cut", [BOTH, NEITHER] * 10), *rows_of("blur", [ONE, BOTH, BOTH, BOTH] * 10),
        *rows_of("jump", [BOTH] * 20, task=VIDEOS),
    ]  # fmt: skip
    kinds, tasks = (
        paired_difference(a, b, mode="think", bootstrap=4000, seed=0, over=over)  # type: ignore[arg-type]
        for over in ("kinds", "tasks")
    )
    assert (kinds.mean, kinds.pairs) == (pytest.approx((1 / 2 - 1 / 8 + 0) / 3), 80)
    assert tasks.mean == pytest.approx(((10 - 5) / 60 + 0) / 2)
    # Variances: 1/4 of 20 pairs; of 40 pairs 1/4 * (1/4) - (1/8)^2 = 3/64; nothing.
    half = 1.96 * math.sqrt(1 / 4 / 20 + 3 / 64 / 40) / 3
    assert (kinds.low, kinds.high) == (
        pytest.approx(kinds.mean - half, abs=0.008),
        pytest.approx(kinds.mean + half, abs=0.008),
    )
    turned = paired_difference(b, a, mode="think", bootstrap=4000, seed=0, over="kinds")
    assert (turned.mean, turned.low, turned.high) == pytest.approx((-kinds.mean, -kinds.high, -kinds.low))


def test_judges_that_agree_differ_by_nothing_within_what_so_many_pairs_of_each_kind_can_tell() -> None:
    rows = [*rows_of("cut", [BOTH, NEITHER] * 10), *rows_of("blur", [ONE] * 40)]
    found = paired_difference(rows, rows, mode="think", bootstrap=100, seed=0, over="kinds")
    wide = paired_interval([np.zeros(40), np.zeros(20)])
    assert (found.mean, found.low, found.high) == (0.0, wide.low, wide.high)


def test_without_kinds_the_difference_is_over_tasks_and_without_common_pairs_refused() -> None:
    a, b = one_a_task(), [*rows_of("web", [NEITHER] * 20), *rows_of("web", [NEITHER] * 20, task=VIDEOS)]
    found = [
        paired_difference(a, b, mode="think", bootstrap=50, seed=0, over=over)  # type: ignore[arg-type]
        for over in ("kinds", "tasks")
    ]
    assert found[0] == found[1] and found[0].mean == 0.5
    with pytest.raises(DataError, match="no pair in common in direct mode"):
        paired_difference(a, b, mode="direct", bootstrap=5, seed=0, over="kinds")


def test_kinds_are_those_of_the_common_pairs() -> None:
    a = [*rows_of("cut", [BOTH] * 10), *rows_of("blur", [BOTH] * 10)]
    b = [row for row in a if row.group == "cut"]
    found = paired_difference(a, b, mode="think", bootstrap=10, seed=0, over="kinds")
    assert (found.mean, found.pairs) == (0.0, 10)


@pytest.mark.parametrize("gain", [0.0, 0.02])
def test_the_paired_interval_over_kinds_holds_the_truth_about_as_often_as_it_says(gain: float) -> None:
    """Like the demo's held-out pairs: 28 kinds of 40 pairs, of which a few differ, in one order or in both."""
    rng, held, repeats = Random(3), 0, 60
    chances = [0.02 + 0.06 * rng.random() for _ in range(28)]  # of a pair to differ, by kind
    for repeat in range(repeats):
        a: list[JudgedRow] = []
        b: list[JudgedRow] = []
        for kind, chance in enumerate(chances):
            pairs = [_outcome(rng, chance, gain) for _ in range(40)]
            a += rows_of(f"k{kind:02d}", [one for one, _ in pairs], task=f"task {kind // 7}")
            b += rows_of(f"k{kind:02d}", [other for _, other in pairs], task=f"task {kind // 7}")
        found = paired_difference(a, b, mode="think", bootstrap=300, seed=repeat, over="kinds")
        held += found.low <= gain <= found.high
    assert held / repeats >= 0.88  # of 60 at 95 %, fewer come by chance once in a hundred times


def _outcome(rng: Random, chance: float, gain: float) -> tuple[Right, Right]:
    """Both judges' answers to a pair: A gains with probability `chance` + `gain` less what it loses."""
    drawn = rng.random()
    if drawn < chance / 2:
        return NEITHER, BOTH
    if drawn < chance + gain:
        return BOTH, NEITHER
    return BOTH, BOTH


def told(first: int, second: int, preferred: Preferred) -> JudgedRow:
    """An answer with these totals, of one dimension."""
    verdict = Verdict.from_dimensions(
        Task.IMAGE_GENERATION, (Dimension("Aesthetics", (first, second), ("a", "b")),), preferred
    )
    text = render_verdict(verdict)
    row = rows_of("g", [BOTH])[0]
    name = f"{first}-{second}-{preferred}"
    return replace(row, pair_id=name, text=text, preferred=preferred, answer_agrees=verdict.answer_agrees)


def test_answers_whose_totals_tie_are_a_share_of_those_that_parse() -> None:
    rows = [told(7, 7, 1), told(7, 7, 2), told(8, 7, 1), told(3, 9, 2), told(9, 3, 2)]
    rows.append(replace(told(5, 5, 1), pair_id="broken", text="Hm.", preferred=None, fault="bad_answer"))
    rows.append(replace(told(5, 5, 1), mode="direct"))
    assert [row.totals_tie for row in rows] == [True, True, False, False, False, False, False]
    got = small(rows)
    assert got["totals_tie"] == 2 / 5
    assert got["answer_agrees"] == 2 / 5  # a tie supports no answer; 9 against 3 supports the other
    assert got["by_task"][IMAGES]["think"]["totals_tie"] == 2 / 5
    assert got["by_task"][IMAGES]["direct"]["totals_tie"] is None
