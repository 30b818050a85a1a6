"""Statistics by themselves: two ways to draw one distribution, one scale of position bias, exact tests."""

import math
from math import comb

import numpy as np
import pytest

from models.evaluation import statistics
from models.evaluation.leaderboard.tables import Entry, detail_table
from models.evaluation.report.table import stage_table
from models.evaluation.statistics import (
    check_resamples,
    difference_interval,
    fisher_p,
    lean,
    macro,
    mcnemar_p,
    mean_interval,
    paired_interval,
    position_bias,
    resample,
    resample_counts,
    right_in_both,
    share_interval,
    share_of,
    wilson,
)
from models.pairs.preference import Preferred
from tests.models.evaluation.leaderboard.test_page import bench

HITS = [(2, 2)] * 40 + [(1, 2)] * 15 + [(0, 2)] * 5 + [(1, 1)] * 10


def test_drawing_pairs_and_drawing_how_many_of_each_kind_give_one_distribution() -> None:
    by_pair, by_kind = (draw(HITS, 20_000, 0, "a") for draw in (resample, resample_counts))
    for quantile in (0.025, 0.5, 0.975):
        assert np.quantile(by_pair, quantile) == pytest.approx(np.quantile(by_kind, quantile), abs=0.004)
    assert by_pair.std() == pytest.approx(by_kind.std(), rel=0.03)


@pytest.mark.parametrize("draw", [resample, resample_counts])
def test_what_is_drawn_depends_on_the_seed_and_the_name(draw: object) -> None:
    one = draw(HITS, 50, 0, "a")  # type: ignore[operator]
    assert np.array_equal(one, draw(HITS, 50, 0, "a"))  # type: ignore[operator]
    assert not np.array_equal(one, draw(HITS, 50, 1, "a"))  # type: ignore[operator]
    assert not np.array_equal(one, draw(HITS, 50, 0, "b"))  # type: ignore[operator]


def test_counts_do_not_depend_on_the_order_of_the_pairs() -> None:
    assert np.array_equal(resample_counts(HITS, 50, 0, "a"), resample_counts(HITS[::-1], 50, 0, "a"))


def test_a_difference_without_width_has_the_interval_of_its_pairs() -> None:
    nothing = [np.zeros(10)]
    wide = paired_interval(nothing)
    assert difference_interval(np.zeros(100), nothing) == (wide.low, wide.high)
    assert difference_interval(np.linspace(0, 1, 1001), nothing) == (pytest.approx(0.025), pytest.approx(0.975))


@pytest.mark.parametrize(
    ("answers", "bias"),
    [([1, 1], 0.5), ([2, 2], -0.5), ([1, 2], 0.0), ([1, 1, 1, 2, "tie", None], 0.25), (["tie", None], None)],
)
def test_position_bias_is_the_mean_lean_of_decided_answers(answers: list[Preferred | None], bias: float | None) -> None:
    assert position_bias(answers) == bias
    if bias is not None:
        assert bias == np.mean([lean(one) for one in answers if lean(one)])


def test_the_stages_table_and_the_leaderboard_show_one_bias_alike() -> None:
    (header, row) = stage_table({"model": {"position_bias": 0.05}})
    assert row[header.index("Position bias")] == "+5.0"
    figures = {"diff": {"overall": None, "macro": None, "both_orders": None}, "tau": None, "consistency": None}
    measured = {
        "strict": figures, "listed": figures, "position_bias": 0.05, "unparsed": {"count": 0, "share": None},
        "refused": {"count": 0, "reasons": {}}, "judged": 1, "pairs": 1, "undecodable": {"count": 0},
    }  # fmt: skip
    header, rows = detail_table(bench(), [Entry("model", {"bench": measured})])
    assert str(rows[0][header.index("Position bias")]) == "+5.0"


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (3, 3), (0, 9), (7, 30), (400, 350)])
def test_mcnemars_p_is_twice_the_smaller_tail(only_a: int, only_b: int) -> None:
    pairs = only_a + only_b
    tail = sum(comb(pairs, at) for at in range(min(only_a, only_b) + 1)) / 2**pairs
    assert mcnemar_p(only_a, only_b) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


@pytest.mark.parametrize(("lost", "near", "others_lost", "others"), [(0, 10, 0, 10), (5, 25, 3, 75), (25, 25, 0, 90)])
def test_fishers_p_is_the_upper_tail_of_the_hypergeometric(lost: int, near: int, others_lost: int, others: int) -> None:
    ways = sum(
        comb(near, count) * comb(others, lost + others_lost - count)
        for count in range(lost, min(near, lost + others_lost) + 1)
    )
    exact = ways / comb(near + others, lost + others_lost)
    assert fisher_p(lost, near, others_lost, others) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    ("share", "pairs", "low", "high"),
    [(0.5, 10, 0.2366, 0.7634), (0.9, 20, 0.6990, 0.9721), (0.0, 3, 0.0, 0.5615), (1.0, 3, 0.4385, 1.0)],
)
def test_the_wilson_interval_by_hand(share: float, pairs: int, low: float, high: float) -> None:
    found = wilson(share, pairs)
    assert found == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert found[0] >= 0.0 and found[1] <= 1.0
    assert mean_interval([(share, pairs)]) == pytest.approx(found)


def test_the_interval_of_a_mean_of_shares_by_hand() -> None:
    (low, high), (other_low, other_high) = wilson(0.5, 10), wilson(0.9, 20)
    below = ((0.5 - low) ** 2 + (0.9 - other_low) ** 2) ** 0.5 / 2
    above = ((high - 0.5) ** 2 + (other_high - 0.9) ** 2) ** 0.5 / 2
    assert mean_interval([(0.5, 10), (0.9, 20)]) == (pytest.approx(0.7 - below), pytest.approx(0.7 + above))


def test_resamples_that_are_all_alike_tell_nothing_and_others_do() -> None:
    assert share_interval(np.full(100, 1.0), [(1.0, 3)]) == pytest.approx(wilson(1.0, 3))
    assert share_interval(np.linspace(0.0, 1.0, 1001), [(1.0, 3)]) == (pytest.approx(0.025), pytest.approx(0.975))


@pytest.mark.parametrize(("pairs", "width"), [(1, 0.92), (10, 0.23), (100, 0.027), (400, 0.0069)])
def test_where_nothing_differs_the_interval_is_as_wide_as_so_few_pairs_allow(pairs: int, width: float) -> None:
    found = paired_interval([np.zeros(pairs)])
    assert -found.low == found.high == pytest.approx(width, rel=0.06)


def test_where_everything_differs_it_has_width_too() -> None:
    found = paired_interval([np.ones(10)])
    assert found.mean == 1.0 and found.low < 0.75 and found.high <= 1.0


def test_the_interval_of_two_tasks_is_that_of_their_mean() -> None:
    """By hand: 2 of 4 and -1 of 5 with the made-up pairs have means 1/4 and -1/5, and variances 11/64 and 14/125."""
    found = paired_interval([np.array([1.0, 0.0]), np.array([-1.0, 0.0, 0.0])])
    half = 1.959964 * math.sqrt((11 / 64 + 14 / 125) / 4)
    assert found.mean == pytest.approx((1 / 2 - 1 / 3) / 2)
    assert (found.low, found.high) == (pytest.approx(0.025 - half), pytest.approx(0.025 + half))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_interval_reaches_beyond_what_a_difference_can_be(sign: float) -> None:
    found = paired_interval([np.array([sign])])
    assert sign * (found.high if sign > 0 else found.low) == 1.0


@pytest.mark.parametrize("differing", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("pairs", [10, 50, 400])
def test_the_interval_holds_the_truth_as_often_as_it_says(pairs: int, differing: float) -> None:
    random = np.random.default_rng(0)
    truth = differing * 0.2
    chances = [differing * 0.4, 1 - differing, differing * 0.6]
    found = [paired_interval([random.choice([-1.0, 0.0, 1.0], size=pairs, p=chances)]) for _ in range(2000)]
    held = np.mean([one.low <= truth <= one.high for one in found])
    too_high = np.mean([one.low > truth for one in found])
    assert held > 0.94 and too_high < 0.035


def test_shares_of_answers_of_pairs_in_both_orders_and_of_tasks() -> None:
    assert share_of([(2, 2), (1, 2), (0, 1)]) == 3 / 5
    assert right_in_both([(True, True), (True, False), (True,), (False, False)]) == [True, False, False]
    assert macro([np.array([0.0, 1.0]), np.array([0.5, 0.75])]).tolist() == [0.25, 0.875]


@pytest.mark.parametrize("draw", [resample, resample_counts])
def test_replicates_are_shares_round_the_share_of_all(draw: object) -> None:
    replicates = draw(HITS, 2_000, 0, "a")  # type: ignore[operator]
    assert replicates.shape == (2_000,)
    assert replicates.min() >= 0 and replicates.max() <= 1
    assert replicates.mean() == pytest.approx(share_of(HITS), abs=0.005)


def test_replicates_are_the_same_however_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = resample(HITS, 25, 0, "a")
    for draws in (1, 3 * len(HITS), 25 * len(HITS)):
        monkeypatch.setattr(statistics, "DRAWS_AT_ONCE", draws)
        assert np.array_equal(resample(HITS, 25, 0, "a"), at_once)


def test_one_resample_is_the_least() -> None:
    check_resamples(1)
    with pytest.raises(ValueError, match=r"^bootstrap is 0: give at least 1 resample"):
        check_resamples(0)


def test_what_the_exact_tests_refuse_and_which_side_they_look_at() -> None:
    with pytest.raises(ValueError, match=r"^counts of pairs are -1 and 2: neither can be negative$"):
        mcnemar_p(-1, 2)
    assert fisher_p(0, 10, 10, 10) == pytest.approx(1.0), "fewer lost than among the others is no sign of poison"


def test_a_difference_that_every_pair_shows_alike_has_an_interval_as_wide_as_so_few_can_tell() -> None:
    low, high = difference_interval(np.full(100, 0.5), [np.full(20, 0.5)])
    assert low < 0.5 <= high
