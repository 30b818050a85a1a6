"""A report's figures for programs: flat numbers by name for whatever keeps metrics, and what `--json` says."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Scores = Mapping[str, Any]


def headline_metrics(scores_by_model: Mapping[str, Scores]) -> dict[str, float]:
    """`grpo/think_macro`, `grpo/think_accuracy` and the like for both modes, and the shares that matter most."""
    found: dict[str, float] = {}
    for name, scores in scores_by_model.items():
        for mode in ("think", "direct"):
            if mode in scores["macro"]:
                found[f"{name}/{mode}_accuracy"] = scores[mode]["overall"]
                found[f"{name}/{mode}_macro"] = scores["macro"][mode]["accuracy"]
        for share in ("both_orders", "totals_tie"):
            if scores[share] is not None:
                found[f"{name}/{share}"] = scores[share]
    return found


def detailed_metrics(
    scores_by_model: Mapping[str, Scores], differences: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """Each kind's accuracy (`grpo/think_kinds/video_generation/flicker`), and the paired differences with their ends.

    A difference is `grpo_over_cold-start/think_macro`, with `_low` and `_high`; over tasks it ends in `_accuracy`.
    """
    found: dict[str, float] = {}
    for name, scores in scores_by_model.items():
        for mode, macro in scores["macro"].items():
            found |= {f"{name}/{mode}_kinds/{kind}": one["accuracy"] for kind, one in macro["kinds"].items()}
    for one in differences:
        name = f"{one['to']}_over_{one['from']}/{one['mode']}"
        for suffix, figures in (("accuracy", one), ("macro", one["macro"])):
            found |= {
                f"{name}_{suffix}": figures["mean"],
                f"{name}_{suffix}_low": figures["low"],
                f"{name}_{suffix}_high": figures["high"],
            }
    return found


def in_order(scores_by_model: Mapping[str, Scores], first: Sequence[str]) -> dict[str, Scores]:
    """The scores with the models named `first` in that order, then the others, such as the oracle."""
    return {name: scores_by_model[name] for name in dict.fromkeys((*first, *scores_by_model))}


def report_json(report: Mapping[str, Any]) -> dict[str, Any]:
    """What `thinkreward run --json` says of a `report.json`: accuracies by model, and the paired differences."""
    accuracy = {name: _accuracy(scores) for name, scores in report.get("accuracy", {}).items()}
    return {"accuracy": accuracy, "differences": list(report.get("differences", ()))}


def _accuracy(scores: Scores) -> dict[str, Any]:
    """By mode the mean over tasks, the macro average and what it is over, each task's and each kind's; intervals."""
    by_mode = {mode: _mode(scores, mode) for mode in ("think", "direct")}
    return {**by_mode, **{name: scores[name] for name in ("valid_rate", "both_orders", "unparsed", "totals_tie")}}


def _mode(scores: Scores, mode: str) -> dict[str, Any]:
    macro = scores["macro"].get(mode)
    if macro is None:
        return {}
    kinds = {
        name: {"accuracy": one["accuracy"], "count": one["pairs"], "interval": [one["low"], one["high"]]}
        for name, one in macro["kinds"].items()
    }
    intervals = {**scores["intervals"][mode], "macro": [macro["low"], macro["high"]]}
    return {
        **scores[mode],
        "macro": macro["accuracy"],
        "macro_over": macro["over"],
        "kinds": kinds,
        "intervals": intervals,
    }
