"""A report's figures for programs: metrics by name, and what `--json` says."""

from typing import Any

from models.evaluation.metrics import detailed_metrics, headline_metrics, in_order, report_json

KINDS = {"video_generation/flicker": {"accuracy": 0.5, "low": 0.4, "high": 0.6, "pairs": 40}}
MACRO = {"over": "kinds", "accuracy": 0.75, "low": 0.7, "high": 0.8, "kinds": KINDS}
SCORES: dict[str, Any] = {
    "think": {"overall": 0.875, "video_generation": 0.9},
    "direct": {"overall": 0.5},
    "intervals": {"think": {"overall": [0.8, 0.9]}, "direct": {"overall": [0.4, 0.6]}},
    "macro": {"think": MACRO, "direct": {**MACRO, "accuracy": 0.25, "over": "tasks", "kinds": {}}},
    "valid_rate": 1.0, "both_orders": 0.6, "unparsed": 0.0, "totals_tie": 0.01, "sums_agree": 1.0,
}  # fmt: skip
THINKING = {**SCORES, "direct": {}, "macro": {"think": MACRO}, "totals_tie": None}
GAIN = {"mean": 0.1, "low": 0.05, "high": 0.15}
DIFFERENCES = [
    {"from": "cold-start", "to": "grpo", "mode": "think", **GAIN, "pairs": 9, "macro": {**GAIN, "mean": 0.125}},
]  # fmt: skip


def test_the_headline_has_both_means_of_each_mode_that_was_judged() -> None:
    assert headline_metrics({"grpo": SCORES, "oracle": THINKING}) == {
        "grpo/think_accuracy": 0.875, "grpo/think_macro": 0.75, "grpo/direct_accuracy": 0.5, "grpo/direct_macro": 0.25,
        "grpo/both_orders": 0.6, "grpo/totals_tie": 0.01,
        "oracle/think_accuracy": 0.875, "oracle/think_macro": 0.75, "oracle/both_orders": 0.6,
    }  # fmt: skip


def test_kinds_and_differences_are_metrics_by_name() -> None:
    found = detailed_metrics({"grpo": SCORES}, DIFFERENCES)
    assert found == {
        "grpo/think_kinds/video_generation/flicker": 0.5,
        "grpo_over_cold-start/think_accuracy": 0.1,
        "grpo_over_cold-start/think_accuracy_low": 0.05,
        "grpo_over_cold-start/think_accuracy_high": 0.15,
        "grpo_over_cold-start/think_macro": 0.125,
        "grpo_over_cold-start/think_macro_low": 0.05,
        "grpo_over_cold-start/think_macro_high": 0.15,
    }


def test_json_has_the_macro_average_and_the_kinds_by_name() -> None:
    said = report_json({"accuracy": {"grpo": SCORES, "oracle": THINKING}, "differences": DIFFERENCES})
    assert said["accuracy"]["grpo"] == {
        "think": {
            "overall": 0.875, "video_generation": 0.9, "macro": 0.75, "macro_over": "kinds",
            "kinds": {"video_generation/flicker": {"accuracy": 0.5, "count": 40, "interval": [0.4, 0.6]}},
            "intervals": {"overall": [0.8, 0.9], "macro": [0.7, 0.8]},
        },
        "direct": {
            "overall": 0.5, "macro": 0.25, "macro_over": "tasks", "kinds": {},
            "intervals": {"overall": [0.4, 0.6], "macro": [0.7, 0.8]},
        },
        "valid_rate": 1.0, "both_orders": 0.6, "unparsed": 0.0, "totals_tie": 0.01,
    }  # fmt: skip
    assert said["accuracy"]["oracle"]["direct"] == {}
    assert said["differences"] == DIFFERENCES
    assert report_json({}) == {"accuracy": {}, "differences": []}


def test_models_come_in_the_recipes_order_and_the_oracle_last() -> None:
    found = {"grpo": SCORES, "base": SCORES, "oracle": THINKING}
    assert list(in_order(found, ("base", "grpo"))) == ["base", "grpo", "oracle"]
