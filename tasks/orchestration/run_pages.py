"""What a Prefect run page shows of a stage beside its logs: a name that describes it, links, tables, figures.

The bytes stay in our store; these artifacts are for people who look at the run.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client

from configs.schema import Settings
from models.evaluation.metrics import in_order
from models.evaluation.report.table import kind_cells, stage_table
from tasks.pipeline.graph import EVALUATED
from tasks.pipeline.retries import run_logger
from tasks.pipeline.run import StageResult, open_store, read_output

if TYPE_CHECKING:  # it loads what judges need, which no other run does
    from tasks.judging.leaderboard import BenchmarkResult

PROGRESS_EVERY_S = 30.0


def best_effort(action: Callable[[], None]) -> None:
    """Do what is for people alone: a failure is logged, and stops no work."""
    try:
        action()
    except Exception as error:  # noqa: BLE001  (Prefect's server, the store: whatever it is, the stage's result stands)
        run_logger().warning("the run's page is not complete: %s", error)


def name_by_time(settings: Settings) -> None:
    """Call a run of no single stage by its flow, its profile and when it began."""
    if runtime.flow_run.id:
        began = datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
        name = f"{runtime.flow_run.flow_name}-{settings.profile}-{began}"
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(str(runtime.flow_run.id)), name=name)


def name_run(stage: str, settings: Settings, key: str) -> None:
    """Call the flow run by its stage, profile and short key; a nightly keeps its own name."""
    if runtime.flow_run.flow_name == stage:
        with get_client(sync_client=True) as client:
            name = f"{stage}-{settings.profile}-{key[:8]}"
            tags = sorted({*runtime.flow_run.tags, f"stage:{stage}", f"key:{key[:8]}"})
            client.update_flow_run(UUID(str(runtime.flow_run.id)), name=name, tags=tags)


def progress_lines(log: Callable[[str], None]) -> Callable[[int, int, str], None]:
    """Progress as an occasional line of the run's log, for runs that nobody watches at a terminal."""
    last = time.monotonic()

    def report(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_EVERY_S:
            last = time.monotonic()
            log(f"{what}: {done} of {total}")

    return report


def links(result: StageResult, settings: Settings) -> str:
    """State, key, artifacts and tracking run of a stage, as Markdown."""
    store = open_store(settings)
    lines = [f"**{result.name}** {result.state} in {result.seconds:.1f} s, key `{result.key[:12]}`", ""]
    lines += [f"- {name}: `{ref.kind}/{ref.digest}`, {store.uri(ref)}" for name, ref in result.outputs.items()]
    if result.mlflow_url:
        url = result.mlflow_url
        lines.append(f"- [MLflow run]({url})" if url.startswith("http") else f"- MLflow: `{url}`")
    return "\n".join(lines) + "\n"


def show(result: StageResult, settings: Settings) -> None:
    """Attach to the current run what its stage has to show."""
    create_markdown_artifact(
        key=f"stage-{result.name}", markdown=links(result, settings), description="State, artifacts and tracking run."
    )
    if result.name == "distill":
        create_table_artifact(
            key="teacher-yield", table=yield_rows(result.facts), description="What became of the teacher's answers."
        )
    if result.name == "evaluate":
        report = read_output(open_store(settings), result.outputs, "report")
        create_markdown_artifact(
            key="report",
            markdown=report_markdown(report["accuracy"], _report_address(result, settings)),
            description="Held-out accuracy, greedy, both presentation orders.",
        )


def show_leaderboard(benched: "BenchmarkResult", settings: Settings) -> None:
    """Attach the leaderboard's table to the current run, and where the page lies."""
    create_markdown_artifact(
        key="leaderboard",
        markdown=leaderboard_markdown(benched.table, f"`{open_store(settings).uri(benched.ref)}/leaderboard.html`"),
        description="Judges on public benchmarks.",
    )


def leaderboard_markdown(table: Sequence[Sequence[str]], path: str) -> str:
    """A line a judge and benchmark, and where the page lies."""
    return f"# Leaderboard (accuracy with 95 % interval)\n\n{_markdown_table(table)}\n\nThe page: {path}\n"


def _markdown_table(lines: Sequence[Sequence[str]]) -> str:
    header, *rows = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))


def _report_address(result: StageResult, settings: Settings) -> str:
    """Where others find the report: beside the MLflow run if that has a page, and in the store."""
    stored = f"`{open_store(settings).uri(result.outputs['report'])}/report.html`"
    url = result.mlflow_url or ""
    return f"[report.html]({url}/artifacts/report.html), {stored}" if url.startswith("http") else stored


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
    """The table of stages, the weakest kinds, and where the whole report lies."""
    scores = in_order(accuracy, EVALUATED)
    header, rows = kind_cells(scores, by=EVALUATED[-1])
    weakest = _markdown_table([header, *([str(cell) for cell in row] for row in rows)])
    kinds = f"\n\n## Kinds that {EVALUATED[-1]} is weakest in\n\n{weakest}" if rows else ""
    table = _markdown_table(stage_table(scores))
    return f"# Held-out accuracy (% with 95 % interval)\n\n{table}{kinds}\n\nThe whole report: {path}\n"
