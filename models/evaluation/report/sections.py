"""What each section of the report shows, worked out from its data: numbers become words, bars and curves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from models.evaluation.report.data import PASS_RATE_BINS, ModelEntry, chosen_step, pass_rate_bins, points
from models.evaluation.report.plots import Bar, Series, Whisker, bar_chart, column_chart, line_chart, whisker_chart
from models.evaluation.report.table import (
    MISSING,
    interval_text,
    kind_cells,
    macro_over_kinds,
    percent,
    signed,
    task_name,
)

COLD_START = "cold-start"
VALIDATION = "validation/accuracy"
_REWARD = re.compile(r"(?:train/)?(rewards/(.+)/mean)")

# Title, metric as TRL logs it, whether it is a fraction, and what to see in it.
CURVES = (
    ("Groups without spread", "frac_reward_zero_std", True, "Share whose rewards are all equal: they teach nothing."),
    ("Completion length", "completions/mean_length", False, "Mean, in tokens."),
    ("Clipped completions", "completions/clipped_ratio", True, "Share cut off at the length limit."),
    ("KL to the start", "kl", False, "In nats; logged only where the loss has a KL term."),
    ("Entropy", "entropy", False, "Mean of the token distributions, in nats."),
)


@dataclass(frozen=True)
class Tile:
    """One figure of the headline."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Figure:
    """A chart under its title. `svg` is None if nothing was measured; `legend` names the series in order."""

    title: str
    svg: Markup | None
    note: str = ""
    legend: tuple[str, ...] = ()


def headline(
    models: Sequence[ModelEntry], differences: Sequence[Mapping[str, Any]], oracle: ModelEntry | None = None
) -> list[Tile]:
    """The final model's thinking accuracy next to the cold start's, the gain, validity, and the direct mode.

    Accuracies are macro averages over kinds where there are kinds, beside the mean over tasks.
    """
    if not models:
        return []
    first, final = models[0], models[-1]
    tiles = [_thinking(final)]
    cold = next((model for model in models[:-1] if model.name == COLD_START), None)
    if cold is not None:
        tiles.append(_thinking(cold))
        ends = (COLD_START, final.name, "think")
        gain = next((row for row in differences if (row["from"], row["to"], row.get("mode", "think")) == ends), None)
        if gain is not None:
            gain = gain["macro"] if macro_over_kinds(final.scores) and "macro" in gain else gain
            tiles.append(Tile("Gain over the cold start, points", signed(gain["mean"]), gain_words(gain)))
    if oracle is not None:
        tiles.append(Tile(f"Ceiling, {oracle.name}", _percent_sign(_headline(oracle)), _bounds(oracle)))
    _, weakest = kind_cells({final.name: final.scores}, by=final.name, most=1)
    tiles += [Tile(f"Weakest kind, {row[0].value}", f"{row[2].value} %", f"95 %: {row[2].interval}") for row in weakest]
    tiles.append(Tile("Valid reasoning", _percent_sign(final.scores.get("valid_rate"))))
    direct = _headline(final, "direct")
    if direct is not None:
        was = f"{first.name}: {_percent_sign(_headline(first, 'direct'))}" if first is not final else ""
        tiles.append(Tile(f"Direct accuracy, {final.name}", _percent_sign(direct), was))
    return tiles


def _thinking(model: ModelEntry) -> Tile:
    """A model's thinking accuracy, the mean over tasks below it where it is over kinds."""
    below = _bounds(model)
    over = ""
    if macro_over_kinds(model.scores):
        over, below = ", macro over kinds", f"{below}; over tasks {_percent_sign(_overall(model))}"
    return Tile(f"Thinking accuracy, {model.name}{over}", _percent_sign(_headline(model)), below)


def gain_words(gain: Mapping[str, Any]) -> str:
    """`95 %: +1.0 to +3.2`, and whether zero is within."""
    words = f"95 %: {signed(gain['low'])} to {signed(gain['high'])}"
    return f"{words}, not distinguishable from zero" if gain["low"] <= 0 <= gain["high"] else words


def accuracy_figure(models: Sequence[ModelEntry]) -> Figure:
    """Each model's thinking accuracy with its interval: over kinds where every model has them, else over tasks."""
    over_kinds = all(macro_over_kinds(model.scores) for model in models)
    rows = []
    for model in models:
        value = _headline(model) if over_kinds else _overall(model)
        if value is not None:
            low, high = (_bounds_of(model) if over_kinds else _interval(model)) or (value, value)
            rows.append(Whisker(model.name, value, low, high, f"{percent(value)} % ({interval_text((low, high))})"))
    title = f"Thinking accuracy by stage{', macro over kinds' if over_kinds and rows else ''}"
    alt = f"{title}: " + "; ".join(f"{row.label} {row.note}" for row in rows)
    return Figure(title, whisker_chart(rows, alt=alt) if rows else None)


def yield_figure(counted: Mapping[str, Any]) -> Figure:
    """The teacher's answers by what became of them."""
    asked, answered, kept = (int(counted.get(name, 0)) for name in ("asked", "answered", "kept"))
    rejected = sorted(counted.get("rejected", {}).items(), key=lambda item: (-item[1], item[0]))
    outcomes = [("kept", kept), *((f"rejected: {_words(reason)}", number) for reason, number in rejected)]
    if asked > answered:
        outcomes.append(("not answered", asked - answered))
    whole = max(1, asked)
    bars = [Bar(label, number, f"{number} ({percent(number / whole)} %)") for label, number in outcomes]
    alt = "Teacher's answers: " + "; ".join(f"{bar.label} {bar.note}" for bar in bars)
    note = f"{asked} pairs asked, {answered} answered, {kept} kept."
    return Figure("What became of the teacher's answers", bar_chart(bars, whole=whole, alt=alt), note)


def pass_rate_figures(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """One histogram a task."""
    figures = []
    for task, counts in pass_rate_bins(rows).items():
        bars = [Bar(label, count, str(count)) for label, count in zip(PASS_RATE_BINS, counts, strict=True)]
        alt = f"{task_name(task)}, pairs by pass rate: " + "; ".join(f"{bar.label}: {bar.note}" for bar in bars)
        note = f"{sum(counts)} pairs; pass rate in percent"
        figures.append(Figure(task_name(task), column_chart(bars, alt=alt), note))
    return figures


def training_figures(history: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """GRPO's curves, the validation that chose its checkpoint first."""
    chosen = chosen_step(history, VALIDATION)
    kept_back = "On pairs kept back from training; the marked checkpoint is the stage's output."
    beware = "Mean of each. A rising reward is not progress by itself."
    figures = [
        _curve("Validation accuracy", [("accuracy", VALIDATION)], history, True, kept_back, chosen),
        _curve("Rewards", _rewards(history), history, False, beware),
    ]
    figures += [_curve(title, [(title, metric)], history, share, note) for title, metric, share, note in CURVES]
    return figures


def _rewards(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    found = {match[2]: match[1] for row in history for key in row if (match := _REWARD.fullmatch(key))}
    each = [(name.removesuffix("_reward"), found[name]) for name in sorted(found)]
    return [("weighted sum", "reward"), *each]


def _curve(
    title: str,
    metrics: Sequence[tuple[str, str]],
    history: Sequence[Mapping[str, Any]],
    fraction: bool,
    note: str,
    chosen: float | None = None,
) -> Figure:
    series = [Series(name, values) for name, metric in metrics if (values := points(history, metric))]
    if not series:
        return Figure(title, None, note)
    ends = "; ".join(f"{one.name} from {one.points[0][1]:.4g} to {one.points[-1][1]:.4g}" for one in series)
    last = max(one.points[-1][0] for one in series)
    alt = f"{title} over {last:g} steps: {ends}" + (f"; chosen: step {chosen:g}" if chosen is not None else "")
    svg = line_chart(series, alt=alt, fraction=fraction, chosen=chosen)
    return Figure(title, svg, note, tuple(one.name for one in series) if len(series) > 1 else ())


def duration(seconds: float | None) -> str:
    """Seconds in words.

    >>> duration(75.2)
    '1 min 15 s'
    """
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def artifact_digests(artifacts: Any) -> list[str]:
    """The digests (or names) in a stage's artifacts: one or a list, as text or with a `digest`; or by name."""
    if not artifacts:
        return []
    if isinstance(artifacts, str):
        return [artifacts]
    if isinstance(artifacts, Mapping):
        return [str(artifacts["digest"])] if "digest" in artifacts else artifact_digests(list(artifacts.values()))
    return [digest for each in artifacts for digest in artifact_digests(each)]


def _words(reason: str) -> str:
    return reason.replace("_", " ").replace("-", " ")


def _percent_sign(fraction: float | None) -> str:
    return MISSING if fraction is None else f"{percent(fraction)} %"


def _overall(model: ModelEntry, mode: str = "think") -> float | None:
    value: float | None = model.scores.get(mode, {}).get("overall")
    return value


def _interval(model: ModelEntry) -> tuple[float, float] | None:
    bounds = model.scores.get("intervals", {}).get("think", {}).get("overall")
    return (bounds[0], bounds[1]) if bounds else None


def _headline(model: ModelEntry, mode: str = "think") -> float | None:
    """The macro average over kinds, or without kinds that over tasks."""
    macro = macro_over_kinds(model.scores, mode)
    return macro["accuracy"] if macro else _overall(model, mode)


def _bounds_of(model: ModelEntry) -> tuple[float, float] | None:
    """The interval of `_headline`, thinking."""
    macro = macro_over_kinds(model.scores)
    return (macro["low"], macro["high"]) if macro else _interval(model)


def _bounds(model: ModelEntry) -> str:
    bounds = _bounds_of(model)
    return f"95 %: {interval_text(bounds)}" if bounds else ""
