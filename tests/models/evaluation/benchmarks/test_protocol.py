import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest

from models.errors import DataError
from models.evaluation.benchmarks.benchmark import Benchmark
from models.evaluation.benchmarks.protocol import (
    UNDECODABLE,
    measure,
    order_flips,
    paper,
    presentation_orders,
)
from models.evaluation.judged_rows import JudgedRow, read_rows, write_rows
from models.evaluation.scores import score
from models.pairs.preference import PreferencePair, Preferred, Task, swapped_preference
from models.shapes.pairs import make_pair
from models.verdict.grammar import CORE_DIMENSIONS, Dimension, Verdict, answer_text
from models.verdict.rendering import render_verdict

GROUPS = ("general", "hallucination", "reasoning")


def row(
    pair_id: str = "p0",
    preferred: Preferred | None = 1,
    label: Preferred = 1,
    *,
    swapped: bool = False,
    group: str = "general",
    **more: Any,
) -> JudgedRow:
    fields = {
        "pair_id": pair_id, "task": str(Task.IMAGE_GENERATION), "group": group, "mode": "direct", "swapped": swapped,
        "label": label, "text": "", "preferred": preferred, "fault": "" if preferred else "bad_answer",
        "position": -1, "sums_agree": False, "answer_agrees": False, "truncated": False,
    }  # fmt: skip
    return JudgedRow(**{**fields, **more})


def both(pair_id: str, first: Preferred | None, second: Preferred | None, **more: Any) -> list[JudgedRow]:
    """A pair judged in both orders; `label` is as stored, the answers are as presented."""
    label: Preferred = more.pop("label", 1)
    return [
        row(pair_id, first, label, **more),
        row(pair_id, second, swapped_preference(label), swapped=True, **more),
    ]


def lost(pair_id: str, label: Preferred = 1, **more: Any) -> JudgedRow:
    return row(pair_id, None, label, fault=UNDECODABLE, **more)


def of(rows: Sequence[JudgedRow], **more: Any) -> dict[str, Any]:
    return measure(rows, **{"bootstrap": 200, "seed": 0, "can_tie": True, **more})


def mixed(pairs: int, seed: int, *, both_orders: bool) -> list[JudgedRow]:
    """A benchmark of all groups and labels, with a judge that is mostly right, ties, mumbles, and meets lost media."""
    rng = Random(seed)
    rows = []
    for number in range(pairs):
        label: Preferred = rng.choice([1, 1, 2, 2, "tie"])
        group = rng.choices(GROUPS, weights=[2, 7, 3])[0]
        undecodable = rng.random() < 0.03
        for swapped in (False, True) if both_orders else (rng.random() < 0.5,):
            shown = swapped_preference(label) if swapped else label
            said = rng.choices([shown, 1, 2, "tie", None], weights=[6, 2, 1, 1, 1])[0]
            fault = UNDECODABLE if undecodable else "" if said else "bad_answer"
            heard = None if undecodable else said
            rows.append(row(f"p{number}", heard, shown, swapped=swapped, group=group, fault=fault))
    rng.shuffle(rows)
    return rows


def reference(rows: Sequence[JudgedRow], *, ties: bool, strict: bool) -> dict[str, Any]:
    """The same figures from the definitions alone: one loop, a tally of [right, answers], exact fractions."""
    gone = {one.pair_id for one in rows if one.fault == UNDECODABLE}
    tally: dict[str, list[int]] = {"": [0, 0]}
    for one in rows:
        if one.label == "tie" and not ties:
            continue
        if one.pair_id in gone and not strict:
            continue
        for name in ("", one.group):
            counts = tally.setdefault(name, [0, 0])
            counts[1] += 1
            if one.pair_id not in gone and one.preferred is not None and str(one.preferred) == str(one.label):
                counts[0] += 1
    shares = {name: Fraction(right, answers) for name, (right, answers) in tally.items()}
    overall = shares.pop("")
    macro = sum(shares.values(), Fraction(0)) / len(shares)
    return {"overall": float(overall), "macro": float(macro), "groups": {n: float(v) for n, v in shares.items()}}


def values(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "overall": figures["overall"]["value"],
        "macro": figures["macro"]["value"],
        "groups": {name: figure["value"] for name, figure in figures["groups"].items()},
    }


@pytest.mark.parametrize("both_orders", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_mixed_pairs_agree_exactly_with_counting_by_hand(seed: int, both_orders: bool) -> None:
    for judge in (seed, seed + 100):  # two judges
        rows = mixed(1000, judge, both_orders=both_orders)
        got = of(rows)
        for way in ("strict", "listed"):
            for ties in ("diff", "tau"):
                assert values(got[way][ties]) == reference(rows, ties=ties == "tau", strict=way == "strict")
        assert got["strict"]["tau"]["overall"]["pairs"] == 1000
        assert got["strict"]["diff"] != got["listed"]["diff"]  # the set does hold lost media
        assert got["strict"]["diff"]["overall"]["value"] != got["strict"]["diff"]["macro"]["value"]


def test_a_random_judge_lands_at_one_half_within_its_interval() -> None:
    rng = Random(4)
    rows = [row(f"p{at}", rng.choice([1, 2]), rng.choice([1, 2]), group=GROUPS[at % 3]) for at in range(1000)]
    got = of(rows, bootstrap=1000)["strict"]["diff"]
    for figure in (got["overall"], got["macro"], *got["groups"].values()):
        assert figure["low"] <= 0.5 <= figure["high"]
    assert got["overall"]["high"] - got["overall"]["low"] == pytest.approx(2 * 1.96 * (0.25 / 1000) ** 0.5, rel=0.1)


def test_a_judge_that_always_says_the_first_has_a_position_bias_of_one_half() -> None:
    always = [one for at in range(50) for one in both(f"p{at}", 1, 1, label=1 + at % 2)]
    got = of(always)
    assert got["position_bias"] == 0.5
    assert got["strict"]["diff"]["overall"]["value"] == 0.5
    assert got["strict"]["consistency"]["value"] == 0.0
    assert got["strict"]["diff"]["both_orders"]["value"] == 0.0
    assert of([replace(one, preferred=2) for one in always])["position_bias"] == -0.5
    assert of([replace(one, preferred=one.label) for one in always])["position_bias"] == 0.0
    assert score(always, bootstrap=10, seed=0)["position_bias"] is None  # that one is of the thinking mode
    thinking = [replace(one, mode="think") for one in always]
    assert score(thinking, bootstrap=10, seed=0)["position_bias"] == of(thinking)["position_bias"]  # one scale


def test_ties_and_unparsed_answers_have_no_position() -> None:
    got = of([row("a", 1), row("b", "tie"), row("c", None), row("d", 2)])
    assert got["position_bias"] == 0.0
    assert of([row("a", "tie"), row("b", None)])["position_bias"] is None


def test_the_answer_is_scored_and_not_the_verdict_in_the_reasoning() -> None:
    rows = []
    for number in range(20):
        pair = make_pair(Task.IMAGE_GENERATION, number, seed=3, held_out=True).pair
        wrong, right = swapped_preference(pair.preferred), pair.preferred
        scores = (9, 2) if wrong == 1 else (2, 9)
        said = f"all in all {answer_text(pair.task, wrong)}"
        dimensions = tuple(Dimension(name, scores, (said, said)) for name in CORE_DIMENSIONS[pair.task])
        text = render_verdict(Verdict.from_dimensions(pair.task, dimensions, wrong))
        reasoning, answer = text.rsplit(answer_text(pair.task, wrong), 1)
        text = f"{reasoning}{answer_text(pair.task, right)}{answer}"
        assert text.count(answer_text(pair.task, wrong)) >= 6 and text.count(answer_text(pair.task, right)) == 1
        rows.append(JudgedRow.read(pair, "think", False, text, False))
    got = of(rows, can_tie=False)
    assert got["strict"]["diff"]["overall"]["value"] == 1.0
    assert got["unparsed"]["count"] == 0


def test_an_unfinished_text_is_wrong_and_counted_even_where_it_names_the_label() -> None:
    pair = make_pair(Task.IMAGE_GENERATION, 0, seed=3, held_out=True).pair
    text = f"<think>\nI believe {answer_text(pair.task, pair.preferred)}"
    got = of([JudgedRow.read(pair, "think", False, text, True)])
    assert got["strict"]["diff"]["overall"]["value"] == 0.0
    assert got["unparsed"] == {"count": 1, "share": 1.0}


def test_consistency_and_both_orders_by_hand() -> None:
    rows = [
        *both("right twice", 1, 2),
        *both("wrong twice", 2, 1),
        *both("always the first", 1, 1),
        *both("unparsed once", 1, None),
        *both("unparsed twice", None, None),
        *both("tie twice", "tie", "tie", label="tie"),
        *both("tie once", "tie", 2, label="tie"),
    ]
    got = of(rows)["strict"]
    assert got["consistency"]["value"] == 3 / 7
    assert got["diff"]["both_orders"]["value"] == 1 / 5
    assert got["diff"]["overall"]["value"] == (2 + 0 + 1 + 1 + 0) / 10
    assert got["tau"]["both_orders"]["value"] == 2 / 7
    assert order_flips(rows) == {"always the first", "tie once"}


def test_one_order_has_neither_consistency_nor_flips() -> None:
    got = of([row("a"), row("b", 2, swapped=True)])
    assert (got["orders"], got["strict"]["consistency"], got["strict"]["diff"]["both_orders"]) == (1, None, None)
    assert order_flips([row("a")]) == set()


def test_lost_media_are_wrong_if_strict_left_out_if_listed_and_named_in_both() -> None:
    rows = [row("a"), row("b"), row("c", 2), lost("z"), lost("x")]
    got = of(rows)
    assert got["strict"]["diff"]["overall"]["value"] == 2 / 5
    assert got["listed"]["diff"]["overall"]["value"] == 2 / 3
    assert got["undecodable"] == {"count": 2, "share": 0.4, "ids": ["x", "z"]}
    assert got["unparsed"] == {"count": 0, "share": 0.0}  # nothing was asked, so nothing failed to parse
    two = of([*both("a", 1, 2), *[lost("b", label, swapped=label == 2) for label in (1, 2)]])
    assert (two["strict"]["consistency"]["value"], two["listed"]["consistency"]["value"]) == (0.5, 1.0)


def test_a_benchmark_whose_media_are_all_lost_has_figures_only_if_strict() -> None:
    got = of([lost("a"), lost("b")])
    assert got["strict"]["diff"]["overall"]["value"] == 0.0
    assert (got["listed"]["diff"]["overall"], got["listed"]["diff"]["macro"]) == (None, None)
    assert (got["unparsed"]["share"], got["position_bias"]) == (None, None)


def test_tau_is_only_for_judges_that_can_say_tie() -> None:
    rows = [row("a", 1), row("b", "tie", "tie"), row("c", 2, "tie"), row("d", "tie", 1)]
    assert of(rows)["strict"]["diff"]["overall"]["value"] == 1 / 2  # a tie said where the label is none is wrong
    assert of(rows)["strict"]["tau"]["overall"]["value"] == 2 / 4
    assert of(rows, can_tie=False)["strict"]["tau"] is None


def test_pairs_of_ties_alone_leave_nothing_to_count_without_them() -> None:
    got = of([row("a", "tie", "tie")])["strict"]
    assert (got["diff"]["overall"], got["diff"]["macro"], got["diff"]["groups"]) == (None, None, {})
    assert got["tau"]["overall"]["value"] == 1.0


def test_pairs_without_a_group_count_overall_but_are_no_group() -> None:
    got = of([row("a"), row("b", 2, group="")])["strict"]["diff"]
    assert (got["overall"]["value"], got["macro"]["value"], list(got["groups"])) == (0.5, 1.0, ["general"])
    assert of([row("a", group="")])["strict"]["diff"]["macro"] is None


def test_aspects_hold_the_same_answers_against_other_labels() -> None:
    rows = [*both("a", 1, 2), *both("b", 2, 1), *both("c", 1, 1)]
    aspects: dict[str, dict[str, Preferred]] = {"a": {"motion": 2, "text": 1}, "b": {"motion": 2}, "d": {"motion": 1}}
    got = of(rows, aspects=aspects)["aspects"]
    assert list(got) == ["motion", "text"]
    motion = got["motion"]["strict"]["diff"]["overall"]
    assert (motion["value"], motion["pairs"]) == (0.5, 2)  # wrong twice on a, right twice on b
    assert got["text"]["strict"]["diff"]["overall"]["value"] == 1.0
    tied = of(rows, aspects={"a": {"motion": "tie"}})["aspects"]["motion"]["strict"]
    assert (tied["diff"]["overall"], tied["tau"]["overall"]["value"]) == (None, 0.0)


def test_the_order_of_presentation_hangs_on_seed_and_id_alone() -> None:
    pairs = [make_pair(Task.VIDEO_GENERATION, number, seed=1, held_out=False).pair for number in range(200)]
    shown = {pair.id: (pair, swapped) for pair, swapped in presentation_orders(pairs, 7)}
    shuffled = Random(0).sample(pairs, 50)
    assert [shown[pair.id] for pair in shuffled] == presentation_orders(shuffled, 7)
    swaps = [swapped for _, swapped in presentation_orders(pairs, 7)]
    assert 70 <= sum(swaps) <= 130
    assert swaps != [swapped for _, swapped in presentation_orders(pairs, 8)]
    for stored in pairs:
        pair, swapped = shown[stored.id]
        assert pair == (stored.swapped() if swapped else stored)


def test_a_file_that_always_puts_the_better_first_is_no_gift_to_a_judge_that_says_the_first() -> None:
    def named(number: int) -> PreferencePair:
        pair = make_pair(Task.IMAGE_GENERATION, number, seed=1, held_out=False).pair
        return pair if pair.preferred == 1 else pair.swapped()

    shown = presentation_orders([named(number) for number in range(400)], 0)
    text = answer_text(Task.IMAGE_GENERATION, 1)
    rows = [JudgedRow.read(pair, "direct", swapped, text, False) for pair, swapped in shown]
    got = of(rows, bootstrap=1000)
    assert got["strict"]["diff"]["overall"]["low"] <= 0.5 <= got["strict"]["diff"]["overall"]["high"]
    assert got["position_bias"] == 0.5


def test_measures_are_json_survive_storage_and_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = mixed(120, 5, both_orders=True)
    plain = json.dumps(of(rows), allow_nan=False)
    write_rows(tmp_path / "rows.parquet", rows)
    assert json.dumps(of(read_rows(tmp_path / "rows.parquet"))) == plain
    assert json.dumps(of(rows, seed=1)) != plain


def test_a_groups_interval_does_not_depend_on_the_other_groups() -> None:
    rows = mixed(200, 6, both_orders=False)
    alone = [one for one in rows if one.group == "reasoning"]
    assert of(alone)["strict"]["diff"]["groups"]["reasoning"] == of(rows)["strict"]["diff"]["groups"]["reasoning"]


def test_intervals_are_those_of_resampling_pair_by_pair() -> None:
    """The classical bootstrap, drawn pair by pair, gives the same interval up to its own noise."""
    rows = mixed(150, 8, both_orders=True)
    pairs: dict[str, list[bool]] = {}
    for one in rows:
        if one.label != "tie":
            pairs.setdefault(one.pair_id, []).append(one.right)
    rng, hits = Random(0), list(pairs.values())
    draws = sorted(sum(sum(pair) for pair in rng.choices(hits, k=len(hits))) / (2 * len(hits)) for _ in range(4000))
    figure = of(rows, bootstrap=4000)["strict"]["diff"]["overall"]
    assert figure["low"] == pytest.approx(draws[100], abs=0.012)
    assert figure["high"] == pytest.approx(draws[3900], abs=0.012)


def test_the_papers_figure_stands_beside_ours() -> None:
    rows = [row("a"), row("b"), row("c", 2, group="reasoning"), row("d", "tie", "tie"), lost("e")]
    got = of(rows)

    def asked(**more: Any) -> dict[str, Any]:
        return paper(got, Benchmark(name="bench", read=lambda root: iter(()), groups=GROUPS, **more))

    assert asked()["strict"]["value"] == asked()["ours"]["value"] == 2 / 4
    assert asked()["listed"]["value"] == 2 / 3
    assert asked(macro=True)["strict"]["value"] == float(Fraction(2, 3) / 2)
    assert asked(macro=True)["missing_groups"] == ["hallucination"]
    assert asked(ties="tau")["strict"]["value"] == 3 / 5
    assert asked(ties="tau")["ours"]["value"] == 2 / 4
    assert paper(of(rows, can_tie=False), Benchmark("bench", lambda root: iter(()), ties="tau"))["strict"] is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no judgments to measure"),
        ([row("a"), row("b", mode="think")], r"several modes \(direct, think\)"),
        ([row("a"), row("a")], "pair 'a' has 2 judgments in the same order"),
        ([*both("a", 1, 2), row("b")], "pair 'b' is judged in 1 orders, others in 2"),
        ([row("a"), row("a", 2, 2, swapped=True, group="reasoning")], "pair 'a' has two tasks or groups"),
        ([row("a"), row("a", swapped=True)], "pair 'a' is labelled 1 and, swapped, 1"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(rows: list[JudgedRow], message: str) -> None:
    with pytest.raises(DataError, match=message):
        of(rows)


def test_no_resamples_are_refused() -> None:
    with pytest.raises(ValueError, match="bootstrap is 0"):
        of([row()], bootstrap=0)


def test_figures_of_few_pairs_that_are_all_right_have_a_width() -> None:
    rows = [row(f"p{at}", group="g") for at in range(3)]
    got = of(rows)["strict"]["diff"]
    for figure in (got["overall"], got["groups"]["g"], got["macro"]):
        assert (figure["value"], round(figure["low"], 3), figure["high"]) == (1.0, 0.439, 1.0)
