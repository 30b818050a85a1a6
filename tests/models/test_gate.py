"""The gate before a model becomes champion."""

import math

import pytest

from models.gate import GateDecision, GateFacts, Interval, decide

GOOD = GateFacts(accuracy=0.92, valid_rate=0.99, both_orders=0.85)


def judged(
    challenger: GateFacts,
    champion: GateFacts | None = None,
    interval: Interval | None = None,
    max_accuracy_drop: float = 0.0,
) -> GateDecision:
    return decide(
        challenger,
        champion,
        difference_interval=interval,
        min_valid_rate=0.95,
        min_both_orders=0.5,
        max_accuracy_drop=max_accuracy_drop,
    )


def accuracy(value: float) -> GateFacts:
    return GateFacts(accuracy=value, valid_rate=1.0, both_orders=0.9)


def test_the_first_good_model_passes_and_the_reasons_say_what_held() -> None:
    decision = judged(GOOD)
    assert decision.passed
    assert decision.reasons == (
        "Valid reasoning in 99.0 % of the answers, at or above the limit of 95.0 %.",
        "Right in both orders on 85.0 % of the pairs, at or above the limit of 50.0 %.",
        "Accuracy 92.0 %; there is no champion to compare with.",
    )


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        (GateFacts(0.92, 0.94, 0.85), "Valid reasoning in 94.0 % of the answers, below the limit of 95.0 %."),
        (GateFacts(0.92, 0.99, 0.49), "Right in both orders on 49.0 % of the pairs, below the limit of 50.0 %."),
    ],
)
def test_each_limit_fails_alone_and_is_the_only_reason_given(facts: GateFacts, complaint: str) -> None:
    assert judged(facts) == GateDecision(passed=False, reasons=(complaint,))


def test_a_limit_that_is_met_exactly_holds() -> None:
    assert judged(GateFacts(0.92, 0.95, 0.5)).passed


def test_everything_that_failed_is_named() -> None:
    decision = judged(GateFacts(0.5, 0.1, 0.1), accuracy(0.9), (-0.45, -0.35))
    assert not decision.passed
    assert len(decision.reasons) == 3


@pytest.mark.parametrize(
    ("interval", "allowed", "passes"),
    [
        ((-0.08, 0.01), 0.0, True),  # worse, but not beyond chance
        ((-0.08, 0.0), 0.0, True),  # the interval touches zero
        ((-0.08, -0.01), 0.0, False),  # worse beyond chance
        ((-0.08, -0.01), 0.02, True),  # worse beyond chance, by no more than is allowed
        ((-0.08, -0.03), 0.02, False),
        ((0.01, 0.05), 0.0, True),  # better
    ],
)
def test_a_drop_counts_only_beyond_the_paired_interval(interval: Interval, allowed: float, passes: bool) -> None:
    decision = judged(accuracy(0.86), accuracy(0.90), interval, max_accuracy_drop=allowed)
    assert decision.passed is passes


def test_the_reason_for_a_drop_gives_both_accuracies_the_interval_and_the_limit() -> None:
    (reason,) = judged(accuracy(0.86), accuracy(0.90), (-0.08, -0.01)).reasons
    assert reason == (
        "Accuracy 86.0 % against the champion's 90.0 %, a difference of -4.0 points (95 % interval -8.0 to -1.0), "
        "beyond the allowed drop of 0.0 points."
    )


def test_without_an_interval_the_plain_difference_decides() -> None:
    assert not judged(accuracy(0.86), accuracy(0.90)).passed
    assert judged(accuracy(0.86), accuracy(0.90), max_accuracy_drop=0.05).passed
    assert judged(accuracy(0.91), accuracy(0.90)).passed


@pytest.mark.parametrize(
    "facts", [GateFacts(math.nan, 1.0, 1.0), GateFacts(0.9, math.nan, 1.0), GateFacts(0.9, 1.0, math.nan)]
)
def test_what_was_not_measured_never_passes(facts: GateFacts) -> None:
    assert not judged(facts).passed
    assert not judged(facts, accuracy(0.1), (0.7, 0.9)).passed


def test_an_interval_that_is_not_a_number_does_not_pass() -> None:
    assert not judged(accuracy(0.9), accuracy(0.9), (math.nan, math.nan)).passed


def test_an_interval_with_swapped_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="wrong way round"):
        judged(accuracy(0.9), accuracy(0.9), (0.1, -0.1))
