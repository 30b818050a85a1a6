from math import comb
from random import Random
from typing import Any

import pytest

from models.errors import DataError
from models.evaluation.benchmarks.comparison import McNemar, compare, vote
from models.evaluation.benchmarks.protocol import measure
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.statistics import mcnemar_p
from models.pairs.preference import Preferred, Task, swapped_preference


def row(pair_id: str, preferred: Preferred | None = 1, label: Preferred = 1, **more: Any) -> JudgedRow:
    fields = {
        "pair_id": pair_id, "task": str(Task.IMAGE_GENERATION), "group": "g", "mode": "direct", "swapped": False,
        "label": label, "text": "", "preferred": preferred, "fault": "" if preferred else "bad_answer",
        "position": -1, "sums_agree": False, "answer_agrees": False, "truncated": False,
    }  # fmt: skip
    return JudgedRow(**{**fields, **more})


def judge(right: str, **more: Any) -> list[JudgedRow]:
    """One row a letter: `y` right, `n` wrong."""
    label: Preferred = 2 if more.get("swapped") else 1
    return [
        row(f"p{at:02d}", label if letter == "y" else swapped_preference(label), label, **more)
        for at, letter in enumerate(right)
    ]


def against(a: list[JudgedRow], b: list[JudgedRow], **more: Any) -> Any:
    return compare(a, b, mode="direct", bootstrap=300, seed=0, **more)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),  # the judges never differ
        (1, 0, 1.0),  # 2 x 1/2
        (0, 5, 2 / 32),
        (1, 5, 2 * (1 + 6) / 64),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
        (3, 3, 1.0),  # twice the tail would be 84/64
    ],
)
def test_mcnemars_p_computed_by_hand(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar_p(only_a, only_b) == pytest.approx(p, rel=1e-12)
    assert mcnemar_p(only_b, only_a) == pytest.approx(p, rel=1e-12)


def test_mcnemars_p_is_the_binomial_tail_doubled_and_copes_with_large_counts() -> None:
    for only_a, only_b in ((10, 25), (0, 40), (180, 240), (2_900, 3_000)):
        pairs = only_a + only_b
        exact = 2 * sum(comb(pairs, at) for at in range(only_a + 1)) / (1 << pairs)
        assert mcnemar_p(only_a, only_b) == pytest.approx(exact, rel=1e-12)
    assert 0.2 < mcnemar_p(13_000, 13_200) < 0.22  # 1.23 standard deviations from even
    with pytest.raises(ValueError, match="-1 and 3"):
        mcnemar_p(-1, 3)


def test_only_pairs_that_one_judge_alone_gets_right_count() -> None:
    got = against(judge("yyyyyynnnn"), judge("yynnnnynnn"))
    assert got.mcnemar == McNemar(only_a=4, only_b=1, p=2 * (1 + 5) / 32)
    assert (got.difference.mean, got.difference.pairs) == (pytest.approx(0.3), 10)
    assert got.difference.low < got.difference.mean < got.difference.high


def test_the_two_orders_of_a_pair_are_one_outcome_and_right_only_together() -> None:
    a = [*judge("yyn"), *judge("yny", swapped=True)]
    b = [*judge("nyn"), *judge("nyn", swapped=True)]
    got = against(a, b)
    assert got.mcnemar == McNemar(only_a=1, only_b=1, p=1.0)  # p00 both right for a; p01 for b
    assert got.difference.mean == pytest.approx((2 + 1 + 1) / 6 - 2 / 6)


def test_the_difference_is_over_pairs_whatever_their_tasks() -> None:
    a = [row("i0"), row("i1"), row("i2"), row("v0", 2, task=str(Task.VIDEO_GENERATION))]
    b = [row("i0", 2), row("i1"), row("i2"), row("v0", 2, task=str(Task.VIDEO_GENERATION))]
    assert against(a, b).difference.mean == pytest.approx(1 / 4)


def test_pairs_that_one_judge_did_not_see_and_labelled_ties_stay_out() -> None:
    a = [row("both"), row("only a"), row("tie", "tie", "tie")]
    b = [row("both", 2), row("only b"), row("tie", 1, "tie")]
    assert (against(a, b).difference.pairs, against(a, b).mcnemar.only_a) == (1, 1)
    assert (against(a, b, ties="tau").difference.pairs, against(a, b, ties="tau").mcnemar.only_a) == (2, 2)


def test_judges_of_different_pairs_or_labels_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="no pair in common in direct mode"):
        against([row("a")], [row("b")])
    with pytest.raises(DataError, match="no pair in common"):
        against([row("a", mode="think")], [row("a", mode="think")])
    with pytest.raises(DataError, match="pair 'a' is labelled 1 and 2"):
        against([row("a", 1, 1)], [row("a", 1, 2)])


def test_a_clear_gain_on_a_thousand_pairs_is_found_and_none_is_not() -> None:
    rng = Random(3)
    weak = [row(f"p{at}", rng.choice([1, 2])) for at in range(1000)]
    strong = [row(one.pair_id, 1 if rng.random() < 0.2 else one.preferred) for one in weak]
    found = against(strong, weak)
    assert found.mcnemar.p < 1e-6 and found.difference.low > 0
    assert against(weak, weak).mcnemar == McNemar(0, 0, 1.0)


@pytest.mark.parametrize(
    ("said", "k", "winner"),
    [
        ([1, 2, 2], 3, 2),
        ([1, 2, 2], 1, 1),  # only the first answer
        ([2, 1], 2, 2),  # an even vote goes to what was said first
        ([None, 1, None, 2, None], 5, 1),  # what does not parse has no vote, however often
        (["tie", 1, 1, 2, 2], 5, 1),  # of the two that lead, not of all
        (["tie", "tie", 1], 3, "tie"),
        ([None, None], 2, None),
    ],
)
def test_the_majority_of_the_first_k_answers_that_parse_wins(
    said: list[Preferred | None], k: int, winner: Preferred | None
) -> None:
    (voted,) = vote([row("p", one, text=f"sample {at}") for at, one in enumerate(said)], k)
    assert voted.preferred == winner
    assert voted.text == f"sample {said.index(winner)}"  # a text that the judge wrote


def test_a_vote_of_many_noisy_answers_is_better_than_one_and_can_be_measured() -> None:
    rng = Random(1)
    rows = [row(f"p{at}", 1 if rng.random() < 0.7 else 2) for at in range(300) for _ in range(9)]
    accuracy = {
        k: measure(vote(rows, k), bootstrap=100, seed=0, can_tie=False)["strict"]["diff"]["overall"] for k in (1, 9)
    }
    assert accuracy[9]["pairs"] == 300
    assert accuracy[9]["low"] > accuracy[1]["high"]


def test_each_order_votes_for_itself() -> None:
    rows = [row("p", 1), row("p", 2, 2, swapped=True), row("p", 1), row("p", 2, 2, swapped=True)]
    assert [(one.swapped, one.preferred) for one in vote(rows, 2)] == [(False, 1), (True, 2)]


def test_too_few_answers_for_a_vote_are_refused() -> None:
    with pytest.raises(DataError, match=r"pair 'p' has 2 sampled answers, vote@3 needs 3"):
        vote([row("p"), row("p")], 3)
    with pytest.raises(ValueError, match="k is 0"):
        vote([row("p")], 0)
