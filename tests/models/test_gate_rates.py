"""How often the gate lets models of known quality through: made-up models, the gate's own rule and default margins.

The worlds are those of tests/proofs/gate.py, which prints the tables of docs/evaluation.md.
"""

import numpy as np
import pytest

from models.evaluation.comparison import accuracy, compare
from tests.proofs.gate import BEHIND, DIFFERING, STEP, World, nights, pairs_needed, passes

FEW, DEMO = 500, 1600


def rate(pairs: int, worse_by: float, *, runs: int = 300, behind: float | None = None) -> float:
    return float(np.mean([passes(seed, pairs=pairs, worse_by=worse_by, behind=behind) for seed in range(runs)]))


def test_the_made_up_models_are_as_good_and_as_different_as_they_say() -> None:
    world = World(400_000, seed=0)
    champion, equal, worse = world.model(), world.model(), world.model(0.02)
    assert accuracy(champion) == pytest.approx(0.85, abs=0.003)
    assert compare(worse, champion).accuracy.mean == pytest.approx(-0.02, abs=0.002)
    differing = np.mean([np.mean(one.right != equal[task].right) for task, one in champion.items()])
    assert differing == pytest.approx(DIFFERING, abs=0.002)


@pytest.mark.parametrize("behind", [None, BEHIND])
@pytest.mark.parametrize("pairs", [FEW, DEMO])
def test_a_challenger_two_points_worse_passes_at_most_one_time_in_twenty(pairs: int, behind: float | None) -> None:
    assert rate(pairs, 0.02, behind=behind) <= 0.05


def test_an_equal_model_passes_more_often_than_not_on_the_demos_pairs() -> None:
    assert rate(DEMO, 0.0) > 0.5


def test_a_model_one_point_better_nearly_always_passes_on_the_demos_pairs() -> None:
    assert rate(DEMO, -0.01) > 0.9


@pytest.mark.parametrize("pairs", [FEW, pytest.param(DEMO, marks=pytest.mark.slow)])
def test_sixty_nights_of_half_a_point_worse_lose_at_most_a_point(pairs: int) -> None:
    lost = np.array([nights(seed, pairs=pairs, step=STEP)[0] for seed in range(40)])
    assert np.mean(lost <= 0.0101) >= 0.95
    assert lost.mean() <= 0.01


def test_the_pairs_that_a_margin_needs_are_those_that_the_rule_needs() -> None:
    needed = pairs_needed(0.01, power=0.8)
    assert rate(needed, 0.0) == pytest.approx(0.8, abs=0.06)
    assert pairs_needed(0.005, power=0.8) == pytest.approx(4 * needed, rel=0.01)
