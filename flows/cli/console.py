"""What the command line shows: progress bars, tables, and one JSON object where `--json` is given."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tasks.pipeline.run import StageResult, Watch

screen = Console(stderr=True, highlight=False)
out = Console(highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class StageProgress:
    """One line a stage: a bar while it works, and what became of it."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: dict[str, TaskID] = {}

    def watch(self, stage: str) -> Watch:
        """The watch of one stage, the same bar whenever it is asked for."""
        bar = self.bars.get(stage)
        if bar is None:
            bar = self.bars[stage] = self.progress.add_task(stage, total=None, what="")

        def show(done: int, total: int, what: str) -> None:
            self.progress.update(bar, completed=done, total=total, what=what)

        def log(line: str) -> None:
            self.progress.console.print(f"  [dim]{stage}:[/] {line}", markup=True)

        def ended(state: str) -> None:
            self.progress.update(bar, completed=1, total=1, what=state)
            self.progress.stop_task(bar)

        return Watch(progress=show, log=log, ended=ended)


@contextmanager
def counting_bar(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """One bar on standard error for so many of so many."""
    with Progress(SpinnerColumn(), BarColumn(28), MofNCompleteColumn(), TimeElapsedColumn(), console=screen,
                  transient=True, disable=quiet) as progress:  # fmt: skip
        bar = progress.add_task("", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator[StageProgress]:
    """Bars on standard error, or none at all."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[what]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, disable=quiet, transient=True) as progress:
        yield StageProgress(progress)


def stage_lines(results: Sequence[StageResult]) -> Table:
    """Stage, state, time and artifacts."""
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "state", "seconds", "memory MiB", "artifacts"):
        table.add_column(column, justify="right" if column in ("seconds", "memory MiB") else "left")
    for result in results:
        colour = {"cached": "cyan", "computed": "green", "resumed": "yellow"}[result.state]
        artifacts = ", ".join(f"{name} {ref.short}" for name, ref in result.outputs.items())
        memory = str(result.facts.get("peak_memory_mib", "")) if result.state != "cached" else ""
        table.add_row(result.name, f"[{colour}]{result.state}[/]", f"{result.seconds:.1f}", memory, artifacts)
    return table


def plain_table(rows: Sequence[Sequence[str]]) -> Table:
    """Rows whose first is the heading; columns of words are on the left, figures on the right."""
    table = Table(box=None, pad_edge=False)
    for at, name in enumerate(rows[0]):
        table.add_column(name, justify="left" if at == 0 or name in ("how", "note") else "right", overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def stage_json(result: StageResult) -> dict[str, Any]:
    """A stage as `thinkreward run --json` gives it."""
    return {
        "name": result.name,
        "state": result.state,
        "key": result.key,
        "seconds": result.seconds,
        "artifacts": {name: f"{ref.kind}/{ref.digest}" for name, ref in result.outputs.items()},
        "mlflow_run": result.mlflow_run,
    }
