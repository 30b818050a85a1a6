"""Statistics by themselves: two ways to draw one distribution, one scale of position bias, exact tests."""

from math import comb

import numpy as np
import pytest

from models.evaluation.leaderboard.tables import Entry, detail_table
from models.evaluation.report.table import stage_table
from models.evaluation.statistics import (
    difference_interval,
    fisher_p,
    lean,
    mcnemar_p,
    paired_interval,
    position_bias,
    resample,
    resample_counts,
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
