"""What a Prefect run page shows of a stage beside its logs: the teacher's yield as a table, the report's figures.

The bytes stay in our store; these artifacts are for people who look at the run.
"""

import json
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from configs.schema import Settings
from models.report.table import stage_table
from tasks.graph import EVALUATED
from tasks.stages import StageResult, open_store


def show(result: StageResult, settings: Settings) -> None:
    """Attach to the current run what its stage has to show; most stages show their logs alone."""
    if result.name == "distill":
        create_table_artifact(
            key="teacher-yield", table=yield_rows(result.facts), description="What became of the teacher's answers."
        )
    if result.name == "evaluate":
        folder = open_store(settings).fetch(result.outputs["report"])
        report = json.loads((folder / "report.json").read_text())
        create_markdown_artifact(
            key="report",
            markdown=report_markdown(report["accuracy"], f"{folder}/report.html"),
            description="Held-out accuracy, greedy, both presentation orders.",
        )


def yield_rows(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Kept and rejected answers by reason, then what they took: requests, tokens, dollars."""
    usage = facts["usage"]
    rows = [("asked", facts["asked"]), ("kept", facts["kept"])]
    rows += [(f"rejected: {reason}", count) for reason, count in facts["rejected"].items()]
    rows += [("unanswered", facts["unanswered"]), ("asked again", facts["reasks"])]
    rows += [(f"used: {name}", usage[name]) for name in ("requests", "cached", "retries")]
    rows += [(f"used: {name}", usage[name]) for name in ("prompt_tokens", "completion_tokens", "total_cost_usd")]
    return [{"what": what, "count": count} for what, count in rows]


def report_markdown(accuracy: dict[str, Any], path: str) -> str:
    """The table of stages, and where the whole report lies."""
    header, *rows = stage_table({name: accuracy[name] for name in EVALUATED})
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"# Held-out accuracy (% with 95 % interval)\n\n{table}\n\nThe whole report: `{path}`\n"
