"""Which pairs GRPO trains on, and which of the validation split it judges."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import DataError
from models.pairs.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from models.training.curriculum import Band, Curriculum, draw_validation, in_band, plan_curriculum

RATES = {f"never-{n}": 0.0 for n in range(40)} | {f"half-{n}": 0.5 for n in range(20)}
RATES |= {f"always-{n}": 1.0 for n in range(60)}


def plan(band: Band = "mixed", rates: dict[str, float] = RATES, **changes: float) -> Curriculum:
    options = {"pairs": 40, "solved_share": 0.25, "seed": 3} | changes
    return plan_curriculum(rates, band=band, **options)  # type: ignore[arg-type]


def kinds(chosen: Curriculum) -> set[str]:
    return {one.split("-")[0] for one in chosen.train}


@pytest.mark.parametrize(
    ("band", "hard"),
    [
        ("wrong_only", (True, False, False)),
        ("partial", (False, True, False)),
        ("contested", (False, True, False)),
        ("mixed", (True, True, False)),
        ("below_one", (True, True, False)),
    ],
)
def test_what_counts_as_hard(band: Band, hard: tuple[bool, ...]) -> None:
    assert tuple(in_band(rate, band) for rate in (0.0, 0.5, 1.0)) == hard


def test_wrong_only_takes_no_pair_that_was_ever_right() -> None:
    assert kinds(plan("wrong_only", solved_share=0.0)) == {"never"}


def test_mixed_takes_what_is_sometimes_right_first() -> None:
    chosen = plan(pairs=10, solved_share=0.0)
    assert kinds(chosen) == {"half"}
    more = plan(pairs=30, solved_share=0.0)
    assert sum(one.startswith("half") for one in more.train) == 20
    assert sum(one.startswith("never") for one in more.train) == 10


def test_contested_takes_rates_nearest_to_a_half_first_in_an_order_of_the_seed() -> None:
    rates = {f"{rate}-{n}": rate for rate in (0.0, 0.25, 0.4, 0.5, 0.75, 0.9, 1.0) for n in range(10)}
    assert kinds(plan("contested", rates, pairs=10, solved_share=0.0)) == {"0.5"}
    assert kinds(plan("contested", rates, pairs=20, solved_share=0.0)) == {"0.5", "0.4"}
    first, second = (plan("contested", rates, pairs=25, solved_share=0.0, seed=seed).train for seed in (3, 4))
    assert {one.split("-")[0] for one in first} == {"0.5", "0.4", "0.25", "0.75"}  # those at a quarter on either side
    assert set(first) != set(second)
    assert kinds(plan("contested", rates, pairs=100, solved_share=0.0)) == {"0.25", "0.4", "0.5", "0.75", "0.9"}


@pytest.mark.parametrize("band", ["wrong_only", "partial", "contested", "mixed", "below_one"])
def test_hard_pairs_left_over_are_in_reserve_the_best_first(band: Band) -> None:
    few, many = (plan(band, pairs=pairs, solved_share=0.0) for pairs in (5, 1000))
    assert not set(few.train) & set(few.reserve)
    assert {*few.train, *few.reserve} == set(many.train)
    assert many.reserve == ()
    assert not [one for one in few.reserve if one.startswith("always")]
    if band == "mixed":
        assert [one.split("-")[0] for one in few.reserve] == ["half"] * 15 + ["never"] * 40


def test_mixed_goes_by_the_rate_and_not_by_the_name() -> None:
    chosen = plan(
        rates={f"a-{n}": 0.0 for n in range(20)} | {f"z-{n}": 0.5 for n in range(5)}, pairs=5, solved_share=0.0
    )
    assert kinds(chosen) == {"z"}


def test_one_pair_asked_for_is_one_hard_pair_whatever_the_share() -> None:
    chosen = plan(pairs=1, solved_share=0.6)
    assert chosen.hard == len(chosen.train) == 1


def test_below_one_takes_all_rates_below_one_alike() -> None:
    chosen = plan("below_one", pairs=30, solved_share=0.0)
    assert kinds(chosen) == {"half", "never"}
    assert sum(one.startswith("half") for one in chosen.train) < 20


def test_the_solved_share_is_of_what_is_trained_on() -> None:
    chosen = plan(pairs=40, solved_share=0.25)
    assert len(chosen.train) == 40
    assert sum(one.startswith("always") for one in chosen.train) == 10
    assert chosen.hard == 30


def test_few_hard_pairs_do_not_drown_in_solved_ones() -> None:
    few = {"never-1": 0.0, "half-1": 0.5, "half-2": 0.5} | {f"always-{n}": 1.0 for n in range(500)}
    chosen = plan(rates=few, pairs=200, solved_share=0.5)
    assert len(chosen.train) == 6 and chosen.hard == 3


def test_without_hard_pairs_there_is_nothing_to_train_on() -> None:
    chosen = plan(rates={f"always-{n}": 1.0 for n in range(9)})
    assert chosen.hard == 0 and chosen.train == ()
    assert plan(rates={}) == Curriculum((), 0)


def decided(task: Task, count: int) -> list[PreferencePair]:
    return [make_pair(task, at, seed=0, held_out=False, validation=True).pair for at in range(count)]


def test_validation_is_drawn_evenly_over_the_tasks_as_far_as_they_go() -> None:
    pairs = [
        *decided(Task.IMAGE_GENERATION, 30),
        *decided(Task.IMAGE_UNDERSTANDING, 30),
        *decided(Task.VIDEO_GENERATION, 2),
    ]
    drawn = draw_validation(pairs, 12, seed=0)
    counted = Counter(pair.task for pair in drawn)
    assert counted == {Task.IMAGE_GENERATION: 5, Task.IMAGE_UNDERSTANDING: 5, Task.VIDEO_GENERATION: 2}
    assert drawn == draw_validation(pairs[::-1], 12, seed=0) != draw_validation(pairs, 12, seed=1)
    assert len(draw_validation(pairs, 1000, seed=0)) == 62


def test_ties_choose_no_checkpoint() -> None:
    (pair,) = decided(Task.IMAGE_GENERATION, 1)
    tie = pair.model_copy(update={"preferred": "tie", "id": "tie"})
    assert draw_validation([tie, pair], 5, seed=0) == [pair]
    told = (
        "^none of the 1 validation pairs prefers a candidate, so no checkpoint can be chosen: add decided pairs, or "
        "raise prepare.validation_share or prepare.validation_pairs$"
    )
    with pytest.raises(DataError, match=told):
        draw_validation([tie], 5, seed=0)


def test_the_seed_decides_and_the_order_of_the_rates_does_not() -> None:
    assert plan() == plan(rates=dict(reversed(RATES.items())))
    assert plan() != plan(seed=4)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=40),
    st.sampled_from(["wrong_only", "mixed", "below_one"]),
    st.integers(1, 30),
    st.floats(0, 1),
)
def test_no_pair_is_trained_on_twice_and_training_keeps_its_size(
    rates: dict[str, float], band: Band, pairs: int, share: float
) -> None:
    chosen = plan_curriculum(rates, band=band, pairs=pairs, solved_share=share, seed=0)
    assert len(set(chosen.train)) == len(chosen.train) <= pairs
    assert set(chosen.train) <= set(rates)
    assert chosen.hard == sum(in_band(rates[one], band) for one in chosen.train)
