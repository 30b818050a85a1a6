"""What a nightly tells of the gate, and of what came through the inbox."""

from tasks.orchestration.summary import summary
from tasks.pipeline.run import StageResult


def test_the_nightly_summary_says_which_test_failed_by_how_much() -> None:
    reason = (
        "Accuracy against the champion (version 3): -1.2 points, its lower end 1.1 points below the margin of -1.0."
    )
    registered = {
        "version": "4",
        "aliases": ["challenger"],
        "headline": "The gate failed 1 of 10 tests.",
        "reasons": [reason],
    }
    told = summary(None, {}, [], registered)
    assert f"Version 4 is challenger. The gate failed 1 of 10 tests.\n\n- {reason}\n" in told


def test_the_nightly_summary_says_what_was_held_back_and_that_the_challenger_turned() -> None:
    prepared = StageResult(
        name="prepare",
        key="0" * 64,
        state="cached",
        seconds=1.0,
        outputs={},
        facts={"held_back": {"contradiction: the training split has this pair with another label": 3}},
    )
    registered = {
        "version": "4",
        "aliases": ["challenger"],
        "headline": "The gate passed, all 10 tests.",
        "reasons": ["Accuracy 90.0 %."],
        "turning": {"sentence": "Anomaly: of the 20 held-out pairs nearest to the 8 new ones …"},
    }
    told = summary(None, {}, [prepared], registered)
    assert "- 3 submitted pairs excluded, contradiction: the training split has this pair with another label\n" in told
    assert "\n\n- Anomaly: of the 20 held-out pairs nearest to the 8 new ones …\n- Accuracy 90.0 %.\n" in told
    assert "Held back" not in summary(None, {}, [], registered | {"turning": None})
