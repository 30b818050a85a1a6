"""The card of a registered model, as the hub writes cards (https://huggingface.co/docs/hub/model-cards): Markdown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.evaluation.report.table import macro_over_kinds, percent, task_name
from models.pairs.preference import Task


@dataclass(frozen=True)
class CardFacts:
    """What a card shows. `scores` are the model's in the report, `summary` is the preferences' summary.json.

    `lineage` maps what the model was made from, and each stage's model, to digests; `base` is a folder or hub id.
    """

    profile: str
    model: str
    base: str
    scores: Mapping[str, Any]
    summary: Mapping[str, Any]
    lineage: Mapping[str, str]


def model_card(facts: CardFacts) -> str:
    """The card: what it is, how to ask it, what it was trained and measured on, and what its licence depends on."""
    return "\n".join(
        [
            "# A chain-of-thought reward model for images and video",
            "",
            f"Made by Thinkreward, profile `{facts.profile}`, by the recipe of UnifiedReward-Think (arXiv 2505.03318).",
            "It compares two candidates: it reasons in scored dimensions, adds the scores, and names the better one.",
            "",
            "```python",
            "import mlflow",
            'judge = mlflow.pyfunc.load_model("models:/thinkreward@champion")',
            "judge.predict(",
            '    [{"task": "image_generation", "prompt": "a cube", "candidate_1": "1.png", "candidate_2": "2.png"}],',
            '    params={"mode": "think", "both_orders": True},',
            ")",
            "```",
            "",
            "`mlflow models serve` answers 504 after 60 seconds, which `--timeout` or the environment's",
            "`MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT` (seconds) changes. It takes no paths of the server's files then;",
            "`SERVING_MODEL_CONFIG='{\"files\": true}'` allows them where all callers are trusted.",
            "",
            "## Held-out accuracy",
            "",
            "Greedy, both presentation orders, pairs labelled a tie excluded; a text that does not parse is wrong.",
            "",
            *_scores(facts.scores),
            "",
            "## Data",
            "",
            *_data(facts.summary),
            "",
            "## Lineage",
            "",
            f"- model: `{facts.model}`",
            *(f"- {name}: `{digest}`" for name, digest in facts.lineage.items()),
            "",
            "`thinkreward artifacts lineage` with any of these digests walks back to the raw data.",
            "",
            "## Licence and limits",
            "",
            "The code that comes with it is Apache-2.0. The weights derive from",
            f"`{facts.base}` and from the data above, whose licences apply to them. It knows the kinds of pictures,",
            "videos and questions that it was trained on; where both orders disagree (`both_orders_agree`), its answer",
            "says nothing about the candidates.",
            "",
        ]
    )


def _scores(scores: Mapping[str, Any]) -> list[str]:
    modes = [mode for mode in ("think", "direct") if mode in scores]
    lines = [f"| | {' | '.join(modes)} |", f"|---|{'---|' * len(modes)}"]
    if any(over := [macro_over_kinds(scores, mode) for mode in modes]):
        cells = [percent(one["accuracy"] if one else None) for one in over]
        lines.append(f"| Macro over kinds | {' | '.join(cells)} |")
    for name in ("overall", *map(str, Task)):
        cells = [percent(scores[mode].get(name)) for mode in modes]
        lines.append(f"| {'All tasks' if name == 'overall' else task_name(name)} | {' | '.join(cells)} |")
    shares = {"valid_rate": "valid reasoning", "both_orders": "right in both orders", "position_bias": "position bias"}
    lines.append("")
    shares["totals_tie"] = "totals tie"
    parts = [f"{words} {percent(scores[name])} %" for name, words in shares.items() if scores.get(name) is not None]
    return [*lines, f"Of thinking answers: {', '.join(parts)}."]


def _data(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    for split, counts in summary.get("splits", {}).items():
        tasks = ", ".join(f"{task_name(task).lower()} {count}" for task, count in counts["tasks"].items())
        lines.append(f"- {split.replace('_', '-')}: {counts['pairs']} pairs ({tasks})")
    if invalid := summary.get("quarantined", {}).get("count"):
        lines.append(f"- invalid: {invalid}")
    if reasons := summary.get("hygiene", {}).get("by_reason"):
        lines.append(f"- removed by hygiene: {', '.join(f'{why} {count}' for why, count in reasons.items())}")
    if submissions := summary.get("drops"):
        lines.append(f"- of these from the inbox: {sum(submissions.values())} pairs of {len(submissions)} submissions")
    return lines
