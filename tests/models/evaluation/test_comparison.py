"""Two judges on the same pairs: what is compared, and that an interval never says more than the pairs can."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from models.errors import DataError
from models.evaluation.comparison import accuracy, both_orders, brier, compare, evidence, valid_rate
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.statistics import paired_interval
from models.pairs.preference import Preferred, Task
from models.verdict.grammar import Dimension, Verdict
from models.verdict.rendering import render_verdict

TASK = Task.IMAGE_GENERATION
Answers = tuple[Preferred | None, Preferred | None]  # as stored, and swapped
RIGHT: Answers = (1, 2)
WRONG: Answers = (2, 1)
FIRST: Answers = (1, 1)
SECOND: Answers = (2, 2)
SILENT: Answers = (None, None)


def text(scores: Sequence[tuple[int, int]], preferred: Preferred) -> str:
    dimensions = tuple(Dimension(f"Part {at}", pair, ("a", "b")) for at, pair in enumerate(scores))
    return render_verdict(Verdict.from_dimensions(TASK, dimensions, preferred))


def row(pair: str, swapped: bool, preferred: Preferred | None, **more: Any) -> JudgedRow:
    """An answer to a pair whose better candidate is the first as stored."""
    scores = [(8, 6)] if preferred == 1 else [(6, 8)]
    told = "no verdict" if preferred is None else text(scores, preferred)
    fields: dict[str, Any] = {
        "pair_id": pair, "task": str(TASK), "group": "g", "mode": "think", "swapped": swapped,
        "label": 2 if swapped else 1, "text": told, "preferred": preferred, "fault": "", "position": -1,
        "sums_agree": True, "answer_agrees": True, "truncated": False,
    }  # fmt: skip
    return JudgedRow(**{**fields, **more})


def judge(*answers: Answers, task: Task = TASK) -> list[JudgedRow]:
    """A judge that answers each pair so: as stored, and swapped."""
    return [
        row(f"p{number}", swapped, answer, task=str(task))
        for number, both in enumerate(answers)
        for swapped, answer in zip((False, True), both, strict=True)
    ]


@pytest.mark.parametrize(
    ("scores", "preferred", "label", "error"),
    [
        ([(8, 6)], 1, 1, (1 / (1 + math.exp(2))) ** 2),  # right, by two points
        ([(8, 6)], 1, 2, (1 / (1 + math.exp(-2))) ** 2),  # wrong, by two points
        ([(8, 6), (5, 5)], 1, 1, (1 / (1 + math.exp(1))) ** 2),  # the mean counts, however many dimensions
        ([(7, 7)], 1, 1, 0.25),  # equal scores say nothing, whatever the answer
        ([(10, 1)], 1, 1, 0.0),
        ([(1, 10)], 2, 1, 1.0),
        ([(8, 6)], 1, "tie", (1 / (1 + math.exp(-2)) - 0.5) ** 2),
    ],
)
def test_calibration_is_the_squared_error_of_what_the_scores_imply(
    scores: list[tuple[int, int]], preferred: Preferred, label: Preferred, error: float
) -> None:
    assert brier(row("p", False, preferred, text=text(scores, preferred), label=label)) == pytest.approx(
        error, abs=1e-3
    )


def test_a_text_that_does_not_parse_is_wrong_for_certain_and_never_nan() -> None:
    silent = evidence(judge(SILENT, SILENT))
    assert silent[str(TASK)].brier.tolist() == [[1.0, 1.0]] * 2
    found = compare(silent, silent)
    for estimate in (found.accuracy, found.both_orders, found.calibration, found.position_bias):
        assert estimate.mean == 0.0 and -1 <= estimate.low < 0 < estimate.high <= 1


def test_an_answer_leans_to_the_candidate_that_it_prefers_as_presented() -> None:
    lean = evidence(judge(RIGHT, FIRST, SECOND, SILENT))[str(TASK)].lean
    assert lean.tolist() == [[0.5, -0.5], [0.5, 0.5], [-0.5, -0.5], [0.0, 0.0]]


def test_the_share_that_is_right_valid_and_right_in_both_orders() -> None:
    found = evidence(judge(RIGHT, FIRST, WRONG, SILENT))
    assert (accuracy(found), valid_rate(found), both_orders(found)) == (0.375, 0.75, 0.25)


def test_tasks_count_alike_in_accuracy_however_many_pairs_they_have() -> None:
    rows = [*judge(RIGHT), *judge(WRONG, WRONG, WRONG, task=Task.IMAGE_UNDERSTANDING)]
    assert accuracy(evidence(rows)) == 0.5


def test_every_difference_is_above_zero_where_the_challenger_is_better() -> None:
    better, worse = evidence(judge(RIGHT, RIGHT, RIGHT)), evidence(judge(FIRST, FIRST, RIGHT))
    found = compare(better, worse)
    assert found.pairs == 3 and found.accuracy.mean == pytest.approx(1 / 3)
    assert found.both_orders.mean == pytest.approx(2 / 3)
    assert found.position_bias.mean == pytest.approx(1 / 3)
    assert found.calibration.mean > 0
    turned = compare(worse, better)
    assert turned.position_bias.mean == pytest.approx(-1 / 3) and turned.calibration.mean == -found.calibration.mean
    assert turned.both_orders.mean == pytest.approx(-2 / 3)


def test_every_task_has_a_difference_of_its_own() -> None:
    other = Task.IMAGE_UNDERSTANDING
    better = evidence([*judge(RIGHT, RIGHT), *judge(WRONG, task=other)])
    worse = evidence([*judge(WRONG, RIGHT), *judge(RIGHT, task=other)])
    tasks = compare(better, worse).tasks
    assert tasks == {
        str(TASK): paired_interval([np.array([1.0, 0.0])]),
        str(other): paired_interval([np.array([-1.0])]),
    }


def test_a_bias_for_the_other_position_is_as_bad() -> None:
    first, second = evidence(judge(FIRST, FIRST)), evidence(judge(SECOND, SECOND))
    assert compare(first, second).position_bias.mean == 0.0


def test_judges_of_other_pairs_are_not_compared() -> None:
    told = "^the two models were judged on other pairs: judge both on the same held-out pairs$"
    with pytest.raises(DataError, match=told):
        compare(evidence(judge(RIGHT)), evidence(judge(RIGHT, WRONG)))


def test_a_pair_judged_in_one_order_is_refused() -> None:
    told = "^1 pairs of image_generation are judged in one presentation order alone, 'p0' first: judge both orders$"
    with pytest.raises(DataError, match=told):
        evidence(judge(RIGHT)[:1])


def test_direct_answers_are_not_compared() -> None:
    with pytest.raises(
        DataError, match=r"^there are no thinking answers to compare: judge at least one held-out pair$"
    ):
        evidence([row("p", False, 1, mode="direct")])
