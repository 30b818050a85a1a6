"""The table of stages: one row a model, for the console, for Markdown and for the HTML report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.pairs.preference import Task

MISSING = "\N{EN DASH}"
SHARES = {
    "valid_rate": "Valid",
    "both_orders": "Both orders",
    "position_bias": "Position bias",
    "sums_agree": "Sums agree",
    "answer_agrees": "Answer agrees",
    "totals_tie": "Totals tie",
}
WEAKEST = 5  # kinds named where there is no room for all


@dataclass(frozen=True)
class Cell:
    """A value and, if it has one, its 95 % interval, both as they are shown."""

    value: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval else self.value


def percent(fraction: float | None) -> str:
    """A fraction in percent, without the sign.

    >>> percent(0.9234)
    '92.3'
    """
    return MISSING if fraction is None else f"{100 * fraction:.1f}"


def signed(fraction: float | None) -> str:
    """A difference of fractions in percentage points, with plus or minus.

    >>> signed(-0.021)
    '-2.1'
    """
    if fraction is None:
        return MISSING
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def interval_text(bounds: Sequence[float] | None) -> str:
    """Both bounds in percent: `90.1 to 94.2`."""
    return f"{percent(bounds[0])} to {percent(bounds[1])}" if bounds else ""


def task_name(task: str) -> str:
    """`image_generation` as `Image generation`."""
    return task.replace("_", " ").capitalize()


def stage_cells(scores_by_model: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[Cell]]]:
    """The header, and one row of cells a model. Tasks that no model was judged on have no column.

    Nor have the macro averages over kinds where the pairs are of no kinds (`models.evaluation.kinds`).
    """
    tasks = _tasks(scores_by_model.values())
    of_kinds = any(macro_over_kinds(scores) for scores in scores_by_model.values())
    header = ["Model", *(["Macro over kinds"] if of_kinds else []), "Thinking", *map(task_name, tasks)]
    header += [*(["Direct, macro over kinds"] if of_kinds else []), "Direct", *SHARES.values()]
    rows = []
    for name, scores in scores_by_model.items():
        macro = [[_macro(scores, mode)] if of_kinds else [] for mode in ("think", "direct")]
        accuracies = [_accuracy(scores, "think", which) for which in ("overall", *tasks)]
        shares = [Cell((signed if share == "position_bias" else percent)(scores.get(share))) for share in SHARES]
        direct = [*macro[1], _accuracy(scores, "direct", "overall")]
        rows.append([Cell(name), *macro[0], *accuracies, *direct, *shares])
    return header, rows


def stage_table(scores_by_model: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Header and rows as plain text: accuracies in percent with their 95 % intervals, position bias in points."""
    header, rows = stage_cells(scores_by_model)
    return [header, *([str(cell) for cell in row] for row in rows)]


def macro_over_kinds(scores: Mapping[str, Any], mode: str = "think") -> Mapping[str, Any] | None:
    """The macro average over kinds in `models.evaluation.scores.score`; None where there are no kinds."""
    found: Mapping[str, Any] | None = scores.get("macro", {}).get(mode)
    return found if found is not None and found["over"] == "kinds" else None


def kind_cells(
    scores_by_model: Mapping[str, Mapping[str, Any]], *, by: str, most: int = WEAKEST
) -> tuple[list[str], list[list[Cell]]]:
    """The header, and a row for each of the kinds that the model `by` is weakest in, thinking: every model's accuracy.

    No rows where there are no kinds.
    """
    found = {name: macro["kinds"] for name, scores in scores_by_model.items() if (macro := macro_over_kinds(scores))}
    weakest = sorted(found.get(by, {}).items(), key=lambda item: (item[1]["accuracy"], item[0]))[:most]
    rows = [
        [Cell(kind.replace("_", " ")), Cell(str(figures["pairs"]))]
        + [_measured(found.get(name, {}).get(kind)) for name in scores_by_model]
        for kind, figures in weakest
    ]
    return ["Kind", "Pairs", *scores_by_model], rows


def group_cells(scores_by_model: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[Cell]]]:
    """The header, and one row of cells a group of a task: its pairs, and each model's thinking accuracy on them."""
    header = ["Task", "Group", "Pairs", *scores_by_model]
    found = [scores.get("groups", {}) for scores in scores_by_model.values()]
    rows = []
    for name in dict.fromkeys(name for groups in found for name in groups):
        task, group = name.split("/", 1)
        judged = [groups.get(name, {}).get("think", {}) for groups in found]
        pairs = max((one.get("pairs", 0) for one in judged), default=0)
        rows.append([Cell(task_name(task)), Cell(group or MISSING), Cell(str(pairs)), *map(_measured, judged)])
    return header, rows


def _measured(one: Mapping[str, Any] | None) -> Cell:
    """An accuracy with its `low` and `high`."""
    return Cell(percent(one["accuracy"]), interval_text((one["low"], one["high"]))) if one else Cell(MISSING)


def _macro(scores: Mapping[str, Any], mode: str) -> Cell:
    return _measured(macro_over_kinds(scores, mode))


def _accuracy(scores: Mapping[str, Any], mode: str, which: str) -> Cell:
    bounds = scores.get("intervals", {}).get(mode, {}).get(which)
    return Cell(percent(scores.get(mode, {}).get(which)), interval_text(bounds))


def _tasks(all_scores: Iterable[Mapping[str, Any]]) -> list[str]:
    present = {task for scores in all_scores for task in scores.get("think", {}) if task != "overall"}
    known = [str(task) for task in Task]
    return [task for task in known if task in present] + sorted(present - set(known))
