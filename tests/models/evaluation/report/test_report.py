import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image

from models.errors import MediaError
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.report.data import (
    ModelEntry,
    ReportData,
    choose_examples,
    chosen_step,
    illustrate,
    pass_rate_bins,
    points,
)
from models.evaluation.report.html import render_report
from models.evaluation.report.plots import Series, line_chart, ticks
from models.evaluation.report.sections import artifact_digests, duration, headline, yield_figure
from models.evaluation.report.table import MISSING, group_cells, kind_cells, stage_table, task_name
from models.evaluation.scores import paired_difference, score
from models.pairs.preference import Task
from models.shapes.pairs import MadePair, make_pair
from tests.models.evaluation.pages import Page, written

NAMES = ("base", "cold-start", "rejection-sampling", "grpo")


@pytest.fixture(scope="module")
def made() -> Sequence[MadePair]:
    return [make_pair(task, number, seed=5, held_out=True) for task in Task for number in range(6)]


def judged(made: Sequence[MadePair], right_of: Callable[[int], bool | None]) -> list[JudgedRow]:
    """Both orders of each pair, right where `right_of(number)`, unparsed where it is None."""
    rows = []
    for number, one in enumerate(made):
        for swapped in (False, True):
            pair = one.pair.swapped() if swapped else one.pair
            right = right_of(number)
            text = (
                "<think>\nI like the left one"
                if right is None
                else written(pair, pair.preferred if right else pair.swapped().preferred)
            )
            rows.append(JudgedRow.read(pair, "think", swapped, text, right is None))
    return rows


@pytest.fixture(scope="module")
def rows(made: Sequence[MadePair]) -> dict[str, list[JudgedRow]]:
    return dict(zip(NAMES, (
        judged(made, lambda number: None),
        judged(made, lambda number: number % 2 == 0),
        judged(made, lambda number: number % 3 > 0),
        judged(made, lambda number: [True, True, True, False, True, None][number % 6]),
    ), strict=True))  # fmt: skip


@pytest.fixture(scope="module")
def full(made: Sequence[MadePair], rows: dict[str, list[JudgedRow]]) -> ReportData:
    frames = {uri: frames for one in made for uri, frames in one.frames.items()}
    examples = choose_examples(rows["grpo"], [one.pair for one in made], per_task=4, seed=0)
    steps = [*pairwise(NAMES), ("cold-start", "grpo")]
    history = [
        {"step": at, "reward": at / 10, "rewards/format_reward/mean": 0.9, "rewards/accuracy_reward/mean": at / 20,
         "frac_reward_zero_std": 0.0, "completions/mean_length": 100 + at, "completions/clipped_ratio": 0.01,
         "entropy": float("nan") if at == 3 else 0.4} for at in range(1, 9)
    ]  # fmt: skip
    return ReportData(
        models=[ModelEntry(name, score(rows[name], bootstrap=100, seed=0)) for name in NAMES],
        differences=[
            {"from": a, "to": b, **vars(paired_difference(rows[b], rows[a], mode="think", bootstrap=100, seed=0))}
            for a, b in steps
        ],
        distill_yield={"asked": 100, "answered": 98, "kept": 70, "rejected": {"wrong_answer": 20, "bad_total": 8}},
        pass_rates=[{"task": str(task), "pass_rate": rate} for task in Task for rate in (0.0, 0.5, 1.0)],
        grpo_history=[*history, {"step": 0, "validation/accuracy": 0.7}, {"step": 8, "validation/accuracy": 0.8}],
        examples=illustrate(examples, frames.__getitem__),
        stages=[{"name": "grpo", "state": "computed", "seconds": 75.2, "peak_memory_mib": 1234.4, "key": "ab" * 32,
                 "artifacts": {"model": {"kind": "model", "digest": "cd" * 32}}}],
        meta={"machine": "2 cores", "seeds": {"run": 7}},
    )  # fmt: skip


def test_a_whole_run_renders_as_a_well_formed_self_contained_page(full: ReportData) -> None:
    html = render_report(full)
    page = Page(html)
    outside = [
        attributes
        for _, attributes in page.tags
        for name in ("src", "href")
        if not attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    ]
    assert outside == []
    assert not page.all("script")
    assert "Not part of this run" not in page.text.replace("KL to the start Not part of this run", "")
    assert page.all("img") and all(image["alt"] for image in page.all("img"))
    assert page.all("svg") and all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    assert "prefers-color-scheme: dark" in html
    assert {"result", "stages", "gains", "teacher", "pass-rates", "grpo", "judgments", "cost", "run"} <= page.ids


def test_the_same_data_give_the_same_page(full: ReportData) -> None:
    assert render_report(full) == render_report(full)


def test_the_page_says_what_was_measured(full: ReportData) -> None:
    text = Page(render_report(full)).text
    assert "Thinking accuracy, grpo66.7 %" in text  # 4 of 6 pairs in every task
    assert "chosen: step 8" in text
    assert "70 (70.0 %)" in text
    assert "not answered2 (2.0 %)" in text
    assert "1 min 15 s" in text
    assert "cdcdcdcdcdcd" in text
    assert "No verdict: missing block at character 0, cut off at the length limit" in text
    assert '"run": 7' in text


def test_nothing_at_all_renders_and_says_so() -> None:
    page = Page(render_report(ReportData()))
    assert page.text.count("Not part of this run.") == 9


@pytest.mark.parametrize(("part", "absent"), [
    ({"models": [ModelEntry("base", {})]}, 8),  # a model that was not scored
    ({"distill_yield": {}}, 8), ({"pass_rates": []}, 9), ({"grpo_history": [{"epoch": 1.0}]}, 15),
    ({"grpo_history": [{"step": 1, "validation/accuracy": 0.5}]}, 14),  # one point
    ({"stages": [{"name": "prepare"}]}, 8), ({"meta": {"a": None}}, 8),
])  # fmt: skip
def test_parts_with_holes_render_and_say_what_is_absent(part: dict[str, Any], absent: int) -> None:
    """Of nine sections, and of the seven charts in that of GRPO."""
    assert Page(render_report(ReportData(**part))).text.count("Not part of this run.") == absent


def test_captions_and_reasoning_cannot_inject_markup(made: Sequence[MadePair]) -> None:
    evil = "<script>alert('x')</script>"
    pair = made[0].pair.model_copy(update={"prompt": f'{evil}" onload="x', "group": evil})
    texts = [written(pair, 1, f"{evil} & more"), f"{evil} </pre>"]
    rows = [JudgedRow.read(pair, "think", False, text, False) for text in texts]
    examples = [example for row in rows for example in choose_examples([row], [pair], per_task=1, seed=0)]
    examples = illustrate(examples, made[0].frames.__getitem__)
    html = render_report(ReportData(
        models=[ModelEntry(evil, score(rows[:1], bootstrap=10, seed=0))],
        examples=examples,
        distill_yield={"asked": 1, "answered": 1, "kept": 0, "rejected": {evil: 1}},
        grpo_history=[{"step": 1, f"rewards/{evil}/mean": 1.0}],
        stages=[{"name": evil, "key": evil, "artifacts": [evil]}],
        meta={evil: evil, "config": {evil: evil}},
    ))  # fmt: skip
    page = Page(html)
    assert "<script" not in html
    assert not any("onload" in attributes for _, attributes in page.tags)
    assert page.text.count(evil) > 10


def test_images_are_shown_large_and_pixelated_and_videos_as_their_frames(full: ReportData) -> None:
    page = Page(render_report(full))
    images = page.all("img")
    assert {(image["width"], image["height"], image["class"]) for image in images} == {("192", "192", "tiny")}
    assert any("frame 4 of 4" in image["alt"] for image in images)


def test_a_medium_that_cannot_be_read_costs_no_report(made: Sequence[MadePair]) -> None:
    def missing(uri: str) -> Sequence[Image.Image]:
        raise MediaError(uri, "is not in the dataset")

    pair = made[0].pair
    rows = [JudgedRow.read(pair, "think", False, written(pair, 1), False)]
    examples = illustrate(choose_examples(rows, [pair], per_task=1, seed=0), missing)
    page = Page(render_report(ReportData(examples=examples)))
    assert "Image 1 could not be read for this report." in page.text


def test_a_fault_is_marked_where_it_is(made: Sequence[MadePair]) -> None:
    pair = made[0].pair
    row = JudgedRow.read(pair, "think", False, written(pair, 1) + "\nand more", False)
    html = render_report(ReportData(examples=choose_examples([row], [pair], per_task=1, seed=0)))
    assert "<mark>and more</mark>" in html


def test_examples_are_half_wrong_one_a_pair_and_as_presented(
    made: Sequence[MadePair], rows: dict[str, list[JudgedRow]]
) -> None:
    examples = choose_examples(rows["grpo"], [one.pair for one in made], per_task=4, seed=0)
    for task in Task:
        some = [one.row for one in examples if one.row.task == task]
        assert [row.right for row in some] == [True, True, False, False]
        assert len({row.pair_id for row in some}) == 4
    stored = {one.pair.id: one.pair for one in made}
    for one in examples:
        assert one.pair == (stored[one.row.pair_id].swapped() if one.row.swapped else stored[one.row.pair_id])
        assert one.pair.preferred == one.row.label


def test_examples_fill_up_with_the_other_kind_and_do_not_depend_on_order(
    made: Sequence[MadePair], rows: dict[str, list[JudgedRow]]
) -> None:
    pairs = [one.pair for one in made]
    few_wrong = choose_examples(judged(made, lambda number: number != 0), pairs, per_task=4, seed=0)
    assert [one.row.right for one in few_wrong[:4]] == [True, True, True, False]
    assert [one.row.right for one in few_wrong[4:8]] == [True] * 4
    assert choose_examples(rows["base"], pairs, per_task=4, seed=0)[0].row.right is False
    again = choose_examples(rows["grpo"][::-1], pairs[::-1], per_task=2, seed=3)
    assert again == choose_examples(rows["grpo"], pairs, per_task=2, seed=3)
    assert choose_examples(rows["grpo"], [], per_task=2, seed=3) == []


def test_the_headline_takes_the_paired_gain_over_the_cold_start(full: ReportData) -> None:
    gain = next(tile for tile in headline(full.models, full.differences) if tile.label.startswith("Gain"))
    assert gain.value == "+16.7"
    assert [tile.label for tile in headline(full.models[:1], [])] == ["Thinking accuracy, base", "Valid reasoning"]


def test_the_stage_table_has_a_row_a_model_and_dashes_for_what_is_not_known(full: ReportData) -> None:
    table = stage_table({model.name: model.scores for model in full.models} | {"other": {}})
    assert table[0][:3] == ["Model", "Thinking", "Image generation"]
    assert {len(row) for row in table} == {len(table[0])}
    assert table[1][1] == "0.0 (0.0 to 19.5)"
    assert table[2][1].startswith("50.0 (")
    assert table[5] == ["other", *[MISSING] * (len(table[0]) - 1)]


def of_kinds(name: str, right: dict[str, Callable[[int], bool]]) -> ModelEntry:
    """A model judged on ten pairs of each kind, `task/kind`, right where its function says so."""
    rows = []
    for at in range(10):
        for kind, is_right in right.items():
            task, group = kind.split("/")
            made = make_pair(Task(task), at, seed=5, held_out=True).pair.model_copy(update={"group": group})
            made = made.model_copy(update={"id": f"{kind}-{at}"})
            for swapped in (False, True):
                pair = made.swapped() if swapped else made
                answer = pair.preferred if is_right(at) else pair.swapped().preferred
                rows.append(JudgedRow.read(pair, "think", swapped, written(pair, answer), False))
    return ModelEntry(name, score(rows, bootstrap=50, seed=0))


@pytest.fixture(scope="module")
def kinds() -> ReportData:
    """A cold start and a final model on three kinds, and an oracle that is right about all."""
    blur, cut, jump = "image_generation/blur", "image_generation/cut", "video_generation/jump"
    cold = of_kinds("cold-start", {blur: lambda at: at < 5, cut: lambda at: at < 8, jump: lambda at: at < 2})
    final = of_kinds("grpo", {blur: lambda at: at < 9, cut: lambda at: True, jump: lambda at: at < 5})
    oracle = of_kinds("oracle", dict.fromkeys((blur, cut, jump), lambda at: True))
    gain = {"mean": 0.275, "low": 0.1, "high": 0.4, "pairs": 30}
    macro = {**gain, "mean": 0.3, "low": 0.15, "high": 0.45}
    return ReportData(
        models=[cold, final],
        oracle=oracle,
        differences=[{"from": "cold-start", "to": "grpo", "mode": "think", **gain, "macro": macro}],
    )


def test_the_stage_table_has_the_macro_average_over_kinds_where_there_are_kinds(kinds: ReportData) -> None:
    scores = {one.name: one.scores for one in (*kinds.models, kinds.oracle) if one}
    header, cold, final, oracle = stage_table(scores)
    assert header[:5] == ["Model", "Macro over kinds", "Thinking", "Image generation", "Video generation"]
    assert header[-6:] == ["Valid", "Both orders", "Position bias", "Sums agree", "Answer agrees", "Totals tie"]
    assert cold[1].startswith("50.0 (") and cold[2].startswith("42.5 (")  # (5 + 8 + 2) / 30; the mean of 65 and 20
    assert final[1].startswith("80.0 (") and final[2].startswith("72.5 (")
    assert oracle[:2] == ["oracle", oracle[1]] and oracle[1].startswith("100.0 (") and oracle[-1] == "0.0"
    assert oracle[header.index("Direct, macro over kinds")] == MISSING  # it was asked to think alone


def test_the_weakest_kinds_come_first_with_every_models_accuracy(kinds: ReportData) -> None:
    scores = {one.name: one.scores for one in (*kinds.models, kinds.oracle) if one}
    header, rows = kind_cells(scores, by="grpo", most=2)
    assert header == ["Kind", "Pairs", "cold-start", "grpo", "oracle"]
    assert [[cell.value for cell in row] for row in rows] == [
        ["video generation/jump", "10", "20.0", "50.0", "100.0"],
        ["image generation/blur", "10", "50.0", "90.0", "100.0"],
    ]
    assert len(kind_cells(scores, by="grpo")[1]) == 3 and kind_cells({}, by="grpo")[1] == []


def test_the_headline_is_the_macro_average_with_its_gain_its_weakest_kind_and_the_ceiling(kinds: ReportData) -> None:
    tiles = {tile.label: tile for tile in headline(kinds.models, kinds.differences, kinds.oracle)}
    final = tiles["Thinking accuracy, grpo, macro over kinds"]
    assert final.value == "80.0 %" and final.detail.endswith("; over tasks 72.5 %")
    assert tiles["Thinking accuracy, cold-start, macro over kinds"].value == "50.0 %"
    assert tiles["Gain over the cold start, points"].value == "+30.0"
    assert tiles["Ceiling, oracle"].value == "100.0 %"
    assert tiles["Weakest kind, video generation/jump"].value == "50.0 %"


def test_the_page_has_the_kinds_the_oracle_and_both_gains(kinds: ReportData) -> None:
    page = Page(render_report(kinds))
    assert "Macro over kinds" in page.text and "Thinking accuracy by kind of pairs" in page.text
    assert "The row oracle is the ceiling" in page.text
    assert "+30.0" in page.text and "95 %: +15.0 to +45.0" in page.text and "+27.5" in page.text
    assert any("macro over kinds" in str(svg.get("aria-label")) for svg in page.all("svg"))


def test_without_kinds_no_page_speaks_of_them(full: ReportData) -> None:
    text = Page(render_report(full)).text
    assert "over kinds" not in text and "ceiling" not in text.lower()
    assert stage_table({model.name: model.scores for model in full.models})[0][1] == "Thinking"


def test_groups_have_a_row_each_with_every_models_accuracy_on_their_pairs(full: ReportData) -> None:
    header, rows = group_cells({model.name: model.scores for model in full.models} | {"other": {}})
    assert header == ["Task", "Group", "Pairs", *NAMES, "other"]
    assert {row[0].value for row in rows} == {task_name(task) for task in Task}
    assert sum(int(row[2].value) for row in rows) == 24  # six pairs a task
    assert all(row[3].value == "0.0" and row[-1].value == MISSING for row in rows)
    assert "Thinking accuracy by group of pairs" in Page(render_report(full)).text


def test_a_resumed_history_gives_each_step_once_and_leaves_out_what_is_no_number() -> None:
    history = [{"step": 2, "kl": 0.5}, {"step": 1, "kl": 0.1}, {"step": 2, "train/kl": 0.3}, {"step": 3, "kl": None}]
    assert points(history, "kl") == [(1.0, 0.1), (2.0, 0.3)]


def test_the_chosen_step_is_the_first_best_or_the_marked_one() -> None:
    history = [{"step": at, "validation/accuracy": value} for at, value in ((0, 0.7), (10, 0.9), (20, 0.9))]
    assert chosen_step(history, "validation/accuracy") == 10
    assert chosen_step([*history, {"step": 20, "chosen": True}], "validation/accuracy") == 20
    assert chosen_step([], "validation/accuracy") is None


def test_pass_rates_are_counted_with_all_wrong_and_all_right_apart() -> None:
    rates = (0.0, 0.125, 0.25, 0.26, 0.5, 0.75, 0.875, 1.0)
    assert pass_rate_bins([{"task": "t", "pass_rate": rate} for rate in rates]) == {"t": [1, 2, 2, 1, 1, 1]}


def test_line_charts_take_flat_and_single_values() -> None:
    drawn = []
    for values in ([(1.0, 0.0)], [(1.0, 0.0), (2.0, 0.0)], [(1.0, 1.0), (2.0, 1.0)]):
        svg = line_chart([Series("flat", values)], alt="flat", fraction=True, chosen=1.0)
        drawn.append(re.findall(r'cx="([^"]+)" cy="([^"]+)"', svg))
    left, middle, right, top, bottom = "48", "197", "346", "20", "174"
    assert drawn == [[(middle, bottom)], [(left, bottom), (right, bottom)], [(left, top), (right, top)]]
    with pytest.raises(ValueError, match="at least one point"):
        line_chart([], alt="none")


def test_ticks_are_round_and_within() -> None:
    assert ticks(0.0, 60.0) == [0.0, 20.0, 40.0, 60.0]
    assert ticks(0.9, 0.95) == [0.9, 0.91, 0.92, 0.93, 0.94, 0.95]
    assert ticks(3.0, 3.0) == [3.0]


def test_small_words() -> None:
    assert [duration(value) for value in (None, 4.0, 59.97, 3725.0)] == [MISSING, "4.0 s", "60.0 s", "1 h 2 min"]
    assert artifact_digests({"model": {"digest": "a"}, "hard": "b"}) == ["a", "b"]
    assert artifact_digests(None) == []
    assert yield_figure({"asked": 0}).note == "0 pairs asked, 0 answered, 0 kept."
