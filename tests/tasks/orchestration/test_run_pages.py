"""What a Prefect run page shows of a stage: rows and Markdown, from the figures the stage reported."""

from tasks.orchestration.run_pages import leaderboard_markdown, report_markdown, yield_rows


def test_the_yield_names_every_reason_and_what_it_cost() -> None:
    usage = {"requests": 13, "cached": 4, "retries": 1, "prompt_tokens": 900, "completion_tokens": 70}
    usage |= {"cost_usd": 0.2, "total_cost_usd": 0.25}
    facts = {
        "asked": 10, "kept": 7, "rejected": {"malformed": 1, "wrong_sums": 2}, "unanswered": 0, "reasks": 3,
        "usage": usage,
    }  # fmt: skip
    counts = {row["what"]: row["count"] for row in yield_rows(facts)}
    assert counts["kept"] + counts["rejected: malformed"] + counts["rejected: wrong_sums"] == counts["asked"]
    assert (counts["used: requests"], counts["used: cached"]) == (13, 4)
    assert counts["used: total_cost_usd"] == 0.25


def test_the_report_has_a_row_for_each_model_and_says_where_the_file_is() -> None:
    one = {"think": {"overall": 0.5, "image_generation": 0.5}, "direct": {"overall": 0.6}, "valid_rate": 1.0}
    text = report_markdown(dict.fromkeys(("base", "cold-start", "rejection-sampling", "grpo"), one), "/a/report.html")
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")] == [
        "| Model", "| ---", "| base", "| cold-start", "| rejection-sampling", "| grpo",
    ]  # fmt: skip
    assert "50.0" in text
    assert "/a/report.html" in text


def test_the_report_of_kinds_names_the_weakest_and_the_oracle_last() -> None:
    kinds = {"image_generation/cut": {"accuracy": 0.9, "low": 0.8, "high": 1.0, "pairs": 45}}
    kinds["video_generation/jump"] = {"accuracy": 0.6, "low": 0.5, "high": 0.7, "pairs": 40}
    macro = {"over": "kinds", "accuracy": 0.75, "low": 0.7, "high": 0.8, "kinds": kinds}
    one = {"think": {"overall": 0.5}, "direct": {}, "macro": {"think": macro}}
    names = ("base", "cold-start", "grpo", "oracle", "rejection-sampling")
    lines = report_markdown(dict.fromkeys(names, one), "/a/report.html").splitlines()
    assert any(line.startswith("| Model | Macro over kinds | Thinking |") for line in lines)
    assert [line.split(" | ")[:2] for line in lines if line.startswith(("| grpo", "| oracle"))] == [
        ["| grpo", "75.0 (70.0 to 80.0)"],
        ["| oracle", "75.0 (70.0 to 80.0)"],
    ]
    assert lines[
        lines.index("| Kind | Pairs | base | cold-start | rejection-sampling | grpo | oracle |") + 2
    ].startswith("| video generation/jump | 40 | 60.0 (50.0 to 70.0) |")


def test_the_leaderboard_has_a_row_for_each_judge_and_says_where_the_page_is() -> None:
    table = [["judge", "benchmark", "ours"], ["champion", "bench", "61.0% (50.1% to 70.9%)"], ["base", "bench", "–"]]
    text = leaderboard_markdown(table, "`s3://bucket/leaderboard.html`")
    assert [line for line in text.splitlines() if line.startswith("| ")][2:] == [
        "| champion | bench | 61.0% (50.1% to 70.9%) |",
        "| base | bench | – |",
    ]
    assert "s3://bucket/leaderboard.html" in text
