"""One HTML file that shows a whole run: everything inside it, nothing fetched, no script.

Texts of models, captions and data sets are escaped by the template; a content security policy in the page
forbids scripts and outside requests besides.
"""

import json
from itertools import groupby
from typing import Any

from models.evaluation.report.cards import card
from models.evaluation.report.data import ReportData
from models.evaluation.report.environment import page_environment
from models.evaluation.report.sections import (
    accuracy_figure,
    artifact_digests,
    duration,
    gain_words,
    headline,
    pass_rate_figures,
    training_figures,
    yield_figure,
)
from models.evaluation.report.table import MISSING, group_cells, macro_over_kinds, signed, stage_cells, task_name

TEMPLATE = "report.html.j2"


def render_report(data: ReportData) -> str:
    """The report as one self-contained HTML page. The same data gives the same bytes."""
    environment = page_environment()
    environment.filters.update(signed=signed, task_name=task_name, duration=duration, gain_words=gain_words)
    shown = [*data.models, *([data.oracle] if data.oracle else [])]
    scores = {model.name: model.scores for model in shown}
    header, rows = stage_cells(scores)
    group_header, group_rows = group_cells(scores)
    cards = [card(example) for example in data.examples]
    return environment.get_template(TEMPLATE).render(
        tiles=headline(data.models, data.differences, data.oracle),
        accuracy=accuracy_figure(shown),
        oracle=data.oracle,
        over_kinds=any(macro_over_kinds(one) for one in scores.values()),
        header=header,
        rows=rows,
        group_header=group_header,
        group_rows=group_rows,
        differences=data.differences,
        teacher=yield_figure(data.distill_yield) if data.distill_yield is not None else None,
        pass_rates=pass_rate_figures(data.pass_rates or ()),
        curves=training_figures(data.grpo_history) if data.grpo_history else [],
        cards_by_task=[(task, list(some)) for task, some in groupby(cards, key=lambda one: one.example.row.task)],
        stages=[_stage(stage) for stage in data.stages],
        facts={name: value for name, value in data.meta.items() if not isinstance(value, dict | list | tuple)},
        details={
            name: json.dumps(value, indent=2, sort_keys=True, default=str, ensure_ascii=False)
            for name, value in data.meta.items()
            if isinstance(value, dict | list | tuple)
        },
        missing=MISSING,
    )


def _stage(stage: Any) -> dict[str, Any]:
    memory = stage.get("peak_memory_mib")
    return {
        "name": stage.get("name", MISSING),
        "state": stage.get("state") or MISSING,
        "time": duration(stage.get("seconds")),
        "memory": MISSING if memory is None else f"{memory:,.0f}".replace(",", "\N{THIN SPACE}"),
        "key": stage.get("key") or "",
        "artifacts": artifact_digests(stage.get("artifacts")),
    }
