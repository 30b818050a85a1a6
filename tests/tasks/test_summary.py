"""What a nightly tells of the gate."""

from tasks.summary import summary


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
