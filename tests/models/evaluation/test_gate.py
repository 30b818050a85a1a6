"""The gate before a model becomes champion."""

import math
from dataclasses import replace
from typing import Any

import pytest

from models.evaluation.comparison import Comparison
from models.evaluation.gate import GateDecision, GateFacts, GateLimits, GateTest, Opponent, decide, moves_reference
from models.evaluation.statistics import Estimate

GOOD = GateFacts(accuracy=0.92, valid_rate=0.99, both_orders=0.85)
LIMITS = GateLimits(
    min_valid_rate=0.95,
    min_both_orders=0.5,
    margin=0.02,
    reference_margin=0.01,
    task_margin=0.05,
    both_orders_margin=0.04,
    calibration_margin=0.02,
    position_bias_margin=0.03,
)
BETTER = Estimate(0.02, 0.01, 0.03)
SAME = Comparison(
    BETTER, {"image_generation": BETTER, "video_generation": BETTER}, BETTER, BETTER, BETTER, pairs=1600
)  # fmt: skip


def against(comparison: Comparison | None, *, champion: bool = True, reference: bool = False) -> Opponent:
    return Opponent("the champion (version 3)", comparison, champion, reference, "" if comparison else "it is gone.")


def judged(comparison: Comparison | None = None, facts: GateFacts = GOOD, limits: GateLimits = LIMITS) -> GateDecision:
    return decide(facts, [against(comparison)] if comparison else [], limits)


def low(value: float) -> Estimate:
    return Estimate(value + 0.01, value, value + 0.02)


def test_the_first_good_model_passes_on_the_absolute_limits_and_the_reasons_say_so() -> None:
    decision = decide(GOOD, [], LIMITS, note="No champion came before this model.")
    assert decision.passed and decision.headline == "The gate passed, all 2 tests."
    assert decision.reasons == (
        "Valid reasoning in 99.0 % of the answers, at or above the limit of 95.0 %.",
        "Right in both orders on 85.0 % of the pairs, at or above the limit of 50.0 %.",
        "Accuracy 92.0 %. No champion came before this model. The absolute limits alone decide.",
    )


def test_the_absolute_tests_are_kept_with_their_names_and_limits() -> None:
    valid, orders, _ = decide(GOOD, [], LIMITS).reasons
    assert decide(GOOD, [], LIMITS).checks == (
        GateTest("valid_rate", "", True, valid, None, 0.95, 0.0),
        GateTest("both_orders", "", True, orders, None, 0.5, 0.0),
    )


@pytest.mark.parametrize(
    ("facts", "complaint", "short"),
    [
        (
            GateFacts(0.92, 0.94, 0.85),
            "Valid reasoning in 94.0 % of the answers, 1.0 points below the limit of 95.0 %.",
            0.01,
        ),
        (
            GateFacts(0.92, 0.99, 0.47),
            "Right in both orders on 47.0 % of the pairs, 3.0 points below the limit of 50.0 %.",
            0.03,
        ),
    ],
)
def test_each_limit_fails_alone_and_is_the_only_reason_given(facts: GateFacts, complaint: str, short: float) -> None:
    decision = judged(facts=facts)
    assert not decision.passed and decision.reasons == (complaint,)
    assert [check.short_by for check in decision.failed] == [pytest.approx(short)]


def test_a_limit_that_is_met_exactly_holds() -> None:
    assert judged(facts=GateFacts(0.92, 0.95, 0.5)).passed


def test_every_statistic_has_a_test_against_every_opponent() -> None:
    decision = judged(SAME)
    of_tasks = ["accuracy/image_generation", "accuracy/video_generation"]
    names = ["accuracy", *of_tasks, "both_orders", "calibration", "position_bias"]
    assert [check.test for check in decision.checks if check.against] == names
    assert decision.passed and len(decision.checks) == 8


@pytest.mark.parametrize(
    ("changed", "margin", "told"),
    [
        ("accuracy", 0.02, "Accuracy against the champion (version 3)"),
        ("both_orders", 0.04, "Right in both orders against the champion (version 3)"),
        ("calibration", 0.02, "Calibration (Brier score, higher is better) against the champion (version 3)"),
        ("position_bias", 0.03, "Freedom from position bias against the champion (version 3)"),
    ],
)
def test_a_lower_end_below_the_margin_fails_and_says_by_how_much(changed: str, margin: float, told: str) -> None:
    changes: dict[str, Any] = {changed: low(-margin + 1e-6)}
    assert judged(replace(SAME, **changes)).passed
    changes = {changed: low(-margin - 0.013)}
    decision = judged(replace(SAME, **changes))
    (failed,) = decision.failed
    assert failed.test == changed and failed.short_by == pytest.approx(0.013)
    (reason,) = decision.reasons
    assert reason.startswith(f"{told}: ") and f"1.3 points below the margin of {-100 * margin:+.1f}." in reason


def test_a_test_that_passed_is_kept_with_what_it_found_and_its_margin() -> None:
    (check,) = (check for check in judged(SAME).checks if check.test == "both_orders" and check.against)
    told = (
        "Right in both orders against the champion (version 3): +2.0 points (95 % interval +1.0 to +3.0), its lower "
        "end above the margin of -4.0."
    )
    assert check == GateTest("both_orders", "the champion (version 3)", True, told, BETTER, 0.04, 0.0)
    assert check.plain == {
        "test": "both_orders",
        "against": "the champion (version 3)",
        "passed": True,
        "sentence": told,
        "estimate": {"mean": 0.02, "low": 0.01, "high": 0.03},
        "margin": 0.04,
        "short_by": 0.0,
    }
    assert judged().checks[0].plain["estimate"] is None


def test_a_lower_end_at_the_margin_itself_fails() -> None:
    assert not judged(replace(SAME, accuracy=Estimate(0.0, -0.02, 0.02))).passed


def test_one_task_alone_can_fail_and_is_named() -> None:
    tasks = {**SAME.tasks, "video_generation": low(-0.06)}
    decision = judged(replace(SAME, tasks=tasks))
    assert [check.test for check in decision.failed] == ["accuracy/video_generation"]
    assert decision.headline == "The gate failed 1 of 8 tests."
    (reason,) = decision.reasons
    assert reason == (
        "Accuracy in video generation against the champion (version 3): -5.0 points (95 % interval -6.0 to -4.0), its "
        "lower end 1.0 points below the margin of -5.0."
    )


def test_a_wide_interval_does_not_pass_whatever_its_middle() -> None:
    assert not judged(replace(SAME, accuracy=Estimate(0.03, -0.05, 0.11))).passed


@pytest.mark.parametrize(
    ("champion", "reference", "passes"),
    [(True, False, True), (False, True, False), (True, True, False)],
)
def test_the_reference_has_a_margin_of_its_own_which_binds_a_champion_that_is_it(
    champion: bool, reference: bool, passes: bool
) -> None:
    found = replace(SAME, accuracy=low(-0.015))
    assert decide(GOOD, [against(found, champion=champion, reference=reference)], LIMITS).passed is passes


def test_every_opponent_has_to_be_held() -> None:
    worse = replace(SAME, accuracy=low(-0.5))
    assert not decide(GOOD, [against(SAME), against(worse)], LIMITS).passed
    assert not decide(GOOD, [against(worse), against(SAME)], LIMITS).passed


def test_what_cannot_be_compared_does_not_pass() -> None:
    decision = decide(GOOD, [against(SAME), against(None)], LIMITS)
    assert not decision.passed
    assert decision.reasons == ("Not comparable with the champion (version 3): it is gone.",)
    told = "Not comparable with the champion (version 3): it is gone."
    assert decision.failed == (GateTest("comparable", "the champion (version 3)", False, told, short_by=None),)


def test_everything_that_failed_is_named() -> None:
    decision = judged(replace(SAME, accuracy=low(-0.4)), GateFacts(0.5, 0.1, 0.1))
    assert len(decision.reasons) == 3


def test_what_held_is_summed_up_in_a_sentence_an_opponent() -> None:
    found = replace(SAME, tasks={"image_generation": BETTER, "video_generation": Estimate(0.01, 0.0, 0.02)})
    *_, told, alone = judged(found).reasons
    assert told == (
        "Against the champion (version 3) on 1600 pairs: accuracy +2.0 points (95 % interval +1.0 to +3.0); lowest "
        "video generation +1.0 points (95 % interval +0.0 to +2.0); right in both orders +2.0 points (95 % interval "
        "+1.0 to +3.0); calibration and position bias within their margins."
    )
    assert alone == "Accuracy 92.0 %."


def test_a_margin_of_one_switches_a_test_off() -> None:
    limits = replace(LIMITS, margin=1.0)
    decision = judged(replace(SAME, accuracy=Estimate(-1.0, -1.0, -0.7)), limits=limits)
    assert decision.passed
    assert decision.checks[2].sentence == (
        "Accuracy against the champion (version 3): -100.0 points (95 % interval -100.0 to -70.0), any difference is "
        "allowed."
    )


@pytest.mark.parametrize("facts", [GateFacts(0.9, math.nan, 1.0), GateFacts(0.9, 1.0, math.nan)])
def test_what_was_not_measured_never_passes(facts: GateFacts) -> None:
    assert not judged(facts=facts).passed


def test_an_interval_that_is_not_a_number_does_not_pass() -> None:
    assert not judged(replace(SAME, accuracy=Estimate(math.nan, math.nan, math.nan))).passed


def test_the_reference_moves_to_what_is_shown_to_be_better_alone() -> None:
    assert moves_reference(None)
    assert moves_reference(SAME)
    assert not moves_reference(replace(SAME, accuracy=Estimate(0.01, 0.0, 0.02)))
