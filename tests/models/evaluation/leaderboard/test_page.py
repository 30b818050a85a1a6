import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect, sync_playwright

from models.evaluation.benchmarks.benchmark import Benchmark, Quoted
from models.evaluation.benchmarks.comparison import compare
from models.evaluation.benchmarks.protocol import UNDECODABLE, measure
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.leaderboard.page import Leaderboard, PairwiseComparison, find_cases, render_leaderboard
from models.evaluation.leaderboard.tables import Entry, places
from models.evaluation.report.data import Picture, illustrate
from models.pairs.preference import Candidate, PreferencePair, Task, swapped_preference
from models.shapes.pairs import MadePair, make_pair
from models.verdict.grammar import CORE_DIMENSIONS
from tests.flows.prefect_form import CHROMIUM, QUIET, needs_chromium
from tests.models.evaluation.pages import Page, written

JUDGES = ("ours", "other")
FAULTY = {3: None, 5: None, 7: "flip", 9: "wrong"}  # what the judge makes of these pairs; all else is right


def bench(name: str = "bench", **more: Any) -> Benchmark:
    return Benchmark(name=name, read=lambda root: iter(()), **more)


def judged(pairs: Sequence[PreferencePair]) -> list[JudgedRow]:
    """Both orders; what `FAULTY` says, and pair 1 has media that cannot be decoded."""
    rows = []
    for number, stored in enumerate(pairs):
        for swapped in (False, True):
            pair = stored.swapped() if swapped else stored
            fate = FAULTY.get(number, "right")
            wrong = fate == "wrong" or (fate == "flip" and swapped)
            text = (
                "<think>\nno end"
                if fate is None
                else written(pair, swapped_preference(pair.preferred) if wrong else pair.preferred)
            )
            row = JudgedRow.read(pair, "think", swapped, text, fate is None)
            if number == 1:
                row = replace(row, text="", preferred=None, fault=UNDECODABLE, position=-1)
            rows.append(row)
    return rows


@pytest.fixture(scope="module")
def made() -> list[MadePair]:
    return [make_pair(task, number, seed=5, held_out=True) for task in Task for number in range(3)]


@pytest.fixture(scope="module")
def board(made: list[MadePair]) -> Leaderboard:
    pairs = [one.pair for one in made]
    frames = {uri: frames for one in made for uri, frames in one.frames.items()}
    rows = judged(pairs)
    measured = measure(rows, bootstrap=100, seed=0, can_tie=False, aspects={pairs[0].id: {"motion": 1}})
    entries = [Entry(JUDGES[0], {"bench": measured}), Entry(JUDGES[1], {"second": measured})]
    cases = find_cases(rows, pairs, judge=JUDGES[0], benchmark="bench", seed=0)
    shown = illustrate([case.example for case in cases], frames.__getitem__)
    versus = PairwiseComparison("bench", *JUDGES, compare(rows, rows, mode="think", bootstrap=50, seed=0))
    printed = Quoted("Printed-7B", {"diff": 73.8, "tau": 60.25, "reasoning": 51.0}, "arXiv 0000.00000, table 1")
    return Leaderboard(
        benchmarks=[bench(quoted=(printed,)), bench("second")],
        entries=entries,
        versus=[versus],
        cases=[replace(case, example=example) for case, example in zip(cases, shown, strict=True)],
        cases_found=500,
        meta={"machine": "2 cores", "seeds": {"bootstrap": 0}},
    )


def test_a_whole_leaderboard_is_a_well_formed_page_that_opens_from_disk(board: Leaderboard) -> None:
    html = render_leaderboard(board)
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    outside = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "srcset") and not (value or "").startswith(("#", "data:image/png;base64,"))
    ]
    assert outside == []
    assert page.all("link") == [] and [one.get("src") for one in page.all("script")] == [None]
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", html)
    assert page.all("img") and all(image["alt"] for image in page.all("img"))
    assert page.all("svg") and all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    assert "prefers-color-scheme: dark" in html
    assert render_leaderboard(board) == html


def test_the_policy_lets_the_pages_own_script_run_and_no_other(board: Leaderboard) -> None:
    html = render_leaderboard(board)
    policy = next(one["content"] for one in Page(html).all("meta") if "http-equiv" in one)
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'")
    assert not any(name.startswith("on") for _, attributes in Page(html).tags for name in attributes)


def test_judges_are_rows_and_benchmarks_columns_and_what_is_quoted_is_marked(board: Leaderboard) -> None:
    rows = places(board.benchmarks, board.entries)
    assert [(row.number, row.name, row.source) for row in rows] == [
        (1, "ours", ""),
        (2, "other", ""),
        (None, "Printed-7B", "arXiv 0000.00000, table 1"),
    ]
    ours, other, printed = (row.spots for row in rows)
    # 12 pairs in both orders: 1 lost, 2 unparsed and 1 wrong twice, 1 wrong once
    assert ours[0].own.value == ours[0].ours.value == f"{100 * 15 / 24:.1f}"
    assert ours[0].note == "judged 11 of 12 pairs; 1 undecodable counted as wrong; 68.2 without"
    assert (ours[1].own.value, other[0].own.value) == ("\N{EN DASH}", "\N{EN DASH}")
    assert (printed[0].own.value, printed[0].ours.value, printed[0].note) == ("73.8", "\N{EN DASH}", "tau 60.2")
    html = render_leaderboard(board)
    assert html.count('<tr class="quoted">') == 1
    assert "quoted" in html.split('<tr class="quoted">')[1].split("</tr>")[0]
    assert "arXiv 0000.00000, table 1" in html
    assert "Printed-7B (quoted)" in html  # above its group's figure


def test_a_quoted_figure_of_another_protocol_is_named_and_never_put_in_its_place() -> None:
    macro = bench(macro=True, quoted=(Quoted("Printed", {"overall": 66.0}, "somewhere"),))
    (row,) = places([macro], [])
    assert (row.spots[0].own.value, row.spots[0].note) == ("\N{EN DASH}", "overall 66.0")
    over = bench(quoted=(Quoted("Printed", {"overall": 66.0}, ""),))
    (row,) = places([over], [])
    assert (row.spots[0].own.value, row.source) == ("66.0", "source not named")


def test_the_page_says_what_was_measured(board: Leaderboard) -> None:
    text = Page(render_leaderboard(board)).text
    assert "Accuracy by group" in text and "Consistency against accuracy" in text
    assert "over pairs, ties left out" in text
    assert "motion" in text
    assert '{"bootstrap": 0}' in text
    assert "10 of the 500 judgments" in text  # 2 lost, 4 unparsed, 2 wrong, 2 of the flip
    labels = [svg["aria-label"] or "" for svg in Page(render_leaderboard(board)).all("svg") if "aria-label" in svg]
    assert any(f"ours: {100 * 15 / 24:.1f} % and {100 * 8 / 12:.1f} %" in label for label in labels)


def test_nothing_at_all_renders_and_says_so() -> None:
    html = render_leaderboard(Leaderboard())
    text = Page(html).text
    assert "No judge was measured." in text and "No judgments to show." in text
    assert "<script" not in html


def test_a_judge_in_one_order_has_no_scatter_and_one_without_ties_no_figure_over_them(made: list[MadePair]) -> None:
    rows = [row for row in judged([one.pair for one in made]) if not row.swapped]
    entry = Entry("once", {"bench": measure(rows, bootstrap=20, seed=0, can_tie=False)})
    text = Page(render_leaderboard(Leaderboard([bench(ties="tau")], [entry]))).text
    assert text.count("Not measured.") == 2


def test_cases_are_all_that_went_wrong_as_presented_and_fairly_drawn(made: list[MadePair]) -> None:
    pairs = [one.pair for one in made]
    rows = judged(pairs)
    cases = find_cases(rows, pairs, judge="j", benchmark="b", seed=1)
    kinds = {(pairs.index(next(p for p in pairs if p.id == case.example.row.pair_id)), case.kind) for case in cases}
    assert kinds == {(1, "undecodable"), (3, "unparsed"), (5, "unparsed"), (7, "right"), (7, "wrong"), (9, "wrong")}
    assert {case.example.row.pair_id for case in cases if case.flipped} == {pairs[7].id}
    for case in cases:
        assert case.example.pair.preferred == case.example.row.label
    shuffled = Random(0).sample(rows, len(rows))
    assert find_cases(shuffled, pairs, judge="j", benchmark="b", seed=1) == cases
    assert find_cases(rows, pairs, judge="j", benchmark="b", seed=2) != cases
    assert find_cases(rows, [], judge="j", benchmark="b", seed=1) == []


def test_each_case_says_what_it_is_filtered_by(board: Leaderboard) -> None:
    page = Page(render_leaderboard(board))
    articles = page.all("article")
    assert len(articles) == len(board.cases) == 10
    for article, case in zip(articles, board.cases, strict=True):
        row = case.example.row
        assert article["data-judge"] == "ours" and article["data-benchmark"] == "bench"
        assert (article["data-task"], article["data-group"]) == (row.task, row.group)
        assert (article["data-kind"], article["data-flipped"]) == (case.kind, "yes" if case.flipped else "no")
        assert article["tabindex"] == "0"
    assert {select["name"] for select in page.all("select")} == {"judge", "benchmark", "task", "group", "kind"}
    assert {"name": "flipped", "type": "checkbox"} in page.all("input")


def test_a_case_shows_prompt_media_reasoning_and_the_scores_of_both(board: Leaderboard) -> None:
    case = next(case for case in board.cases if case.kind == "wrong" and case.example.pair.task.judges_media)
    page = Page(render_leaderboard(replace(board, cases=[case])))
    assert case.example.pair.prompt in page.text
    assert "wants red, shows red" in page.text
    assert sum(one.get("class") == "score" for one in page.all("svg")) == 2 * len(
        CORE_DIMENSIONS[case.example.pair.task]
    )
    assert len(page.all("img")) == sum(len(frames) for frames in case.example.pictures.values()) > 0
    assert "✗ wrong" in page.text and "Reasoning as written" in page.text


def test_names_captions_groups_and_reasoning_cannot_inject_markup(made: list[MadePair]) -> None:
    evil = """</script><script>alert('x')</script><img src=x onerror=alert(1)>" onfocus="alert(1)' & {{ 7*7 }}"""
    stored = next(one.pair for one in made if one.pair.task is Task.IMAGE_UNDERSTANDING)
    texts = (Candidate(text=evil), Candidate(text=f"{evil} too"))
    pair = stored.model_copy(update={"id": evil, "prompt": evil, "group": evil, "candidates": texts})
    rows = [
        JudgedRow.read(
            shown, "think", swapped, written(shown, swapped_preference(shown.preferred), evil.replace("\n", " ")), False
        )
        for swapped, shown in ((False, pair), (True, pair.swapped()))
    ]
    measured = measure(rows, bootstrap=10, seed=0, can_tie=False, aspects={evil: {evil: 1}})
    cases = find_cases(rows, [pair], judge=evil, benchmark=evil, seed=0)
    picture = (Picture('x" onerror="alert(1)', 9, 9),)
    pictured = [
        replace(case, example=replace(case.example, pictures={media.uri: picture for media in pair.media()}))
        for case in cases
    ]
    html = render_leaderboard(
        Leaderboard(
            benchmarks=[bench(evil, groups=(evil,), quoted=(Quoted(evil, {evil: 1.0, "overall": 2.0}, evil),))],
            entries=[Entry(evil, {evil: measured})],
            versus=[PairwiseComparison(evil, evil, evil, compare(rows, rows, mode="think", bootstrap=10, seed=0))],
            cases=pictured,
            meta={evil: evil, "nested": {evil: [evil]}},
        )
    )
    page = Page(html)
    assert html.count("<script") == 1
    assert "<img src=x" not in html and "49" not in page.text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count("<script>alert('x')</script>") > 15


def test_a_text_without_verdict_is_shown_where_it_breaks_and_one_never_asked_for_has_none(board: Leaderboard) -> None:
    def text(kind: str) -> str:
        return Page(render_leaderboard(replace(board, cases=[case for case in board.cases if case.kind == kind]))).text

    assert "No verdict: missing block at character 0, cut off at the length limit" in text("unparsed")
    assert "✗ undecodable" in text("undecodable") and "Reasoning as written" not in text("undecodable")


@needs_chromium
def test_the_filters_work_in_a_browser_by_keyboard_alone(board: Leaderboard, tmp_path: Path) -> None:
    file = tmp_path / "leaderboard.html"
    file.write_text(render_leaderboard(board), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET])
        try:
            tab = browser.new_page()
            complaints: list[str] = []
            tab.on("console", lambda message: complaints.append(message.text))
            tab.goto(file.as_uri())
            _filter_by_keyboard(tab)
            assert complaints == []
        finally:
            browser.close()


def _filter_by_keyboard(tab: Tab) -> None:
    visible = tab.locator("#cases > article:visible")
    expect(tab.locator("#count")).to_have_text("10 of 10 judgments")
    outcome = tab.locator("select[name=kind]")
    outcome.focus()
    tab.keyboard.type("unp")  # to `unparsed`
    expect(outcome).to_have_value("unparsed")
    expect(visible).to_have_count(4)
    visible.nth(0).focus()
    tab.keyboard.press("j")
    expect(visible.nth(1)).to_be_focused()
    tab.keyboard.press("k")
    expect(visible.nth(0)).to_be_focused()
    tab.get_by_role("button", name="Show all").focus()
    tab.keyboard.press("Enter")
    expect(visible).to_have_count(10)
    tab.locator("input[name=flipped]").focus()
    tab.keyboard.press("Space")
    expect(visible).to_have_count(2)
