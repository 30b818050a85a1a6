"""The registered model's card: its figures, its data, its lineage, and what its licence depends on."""

from models.evaluation.report.model_card import CardFacts, model_card

THINK = {"overall": 0.912, "image_generation": 0.95, "image_understanding": 0.88}
SCORES = {"think": THINK, "direct": {"overall": 0.7}, "valid_rate": 0.998, "both_orders": 0.85, "position_bias": None}
SUMMARY = {
    "splits": {"train": {"pairs": 20, "tasks": {"image_generation": 12, "video_generation": 8}},
               "held_out": {"pairs": 4, "tasks": {"image_generation": 4}}},
    "quarantined": {"count": 3},
    "hygiene": {"by_reason": {"benchmark": 2, "duplicate": 5}},
    "drops": {"drop-a": 6, "drop-b": 1},
}  # fmt: skip
FACTS = CardFacts("mine", "f" * 64, "Qwen/Qwen2.5-VL-7B-Instruct", SCORES, SUMMARY, {"input.report": "a" * 64})


def test_the_card_tells_figures_data_lineage_and_licence() -> None:
    card = model_card(FACTS)
    assert "| All tasks | 91.2 | 70.0 |" in card
    assert "| Image understanding | 88.0 | \N{EN DASH} |" in card
    assert "valid reasoning 99.8 %, right in both orders 85.0 %." in card
    assert "- train: 20 pairs (image generation 12, video generation 8)" in card
    assert "- invalid: 3" in card
    assert "- removed by hygiene: benchmark 2, duplicate 5" in card
    assert "- of these from the inbox: 7 pairs of 2 submissions" in card
    assert f"- input.report: `{'a' * 64}`" in card
    assert "`Qwen/Qwen2.5-VL-7B-Instruct`" in card.split("## Licence")[1]


def test_what_is_not_known_is_not_told() -> None:
    card = model_card(CardFacts("mine", "f" * 64, "base", {"think": {"overall": 0.5}}, {}, {}))
    assert "direct" not in card.split("## Held-out accuracy")[1]
    assert "position bias" not in card
    assert "hygiene" not in card


def test_the_macro_average_over_kinds_stands_above_that_over_tasks() -> None:
    macro = {"over": "kinds", "accuracy": 0.874, "low": 0.8, "high": 0.9, "kinds": {}}
    scores = {**SCORES, "macro": {"think": macro, "direct": {**macro, "over": "tasks"}}, "totals_tie": 0.012}
    card = model_card(CardFacts("mine", "f" * 64, "base", scores, {}, {}))
    assert f"| Macro over kinds | 87.4 | {chr(0x2013)} |\n| All tasks | 91.2 | 70.0 |" in card
    assert "right in both orders 85.0 %, totals tie 1.2 %." in card
    assert "Macro" not in model_card(FACTS)
