"""How the command line runs the recipe and shows what came of it."""

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from configs.schema import Settings
from flows.cli.console import out, plain_table, print_json, progress_bars, screen, stage_json, stage_lines
from flows.cli.options import program
from models.evaluation.metrics import in_order, report_json
from models.evaluation.report.table import kind_cells, stage_cells
from tasks.data.inbox.records import is_empty
from tasks.orchestration.temporary_server import is_temporary, tie_temporary_server
from tasks.pipeline.engines import check_engine
from tasks.pipeline.graph import EVALUATED, RECIPE
from tasks.pipeline.plan import Planner, check_trainable, refuse_missing
from tasks.pipeline.run import StageResult, Watch, open_store, read_output, reuse_all
from tasks.store.artifacts import Store


class Ran(NamedTuple):
    """What a run gave, and where its seconds went: total, start, stages, rest."""

    results: list[StageResult]
    seconds: dict[str, float]


def run_recipe(
    settings: Settings,
    stages: Sequence[str],
    refresh: Sequence[str],
    *,
    quiet: bool,
    pins: Mapping[str, str],
    build_missing: bool,
) -> Ran:
    """Check storage and inputs, then run the flow with progress on standard error; one stage runs as its own flow.

    Where there is nothing to do, and no Prefect server to show that on, no flow runs and Prefect is not loaded.
    Before anything is started it raises `UpstreamMissing` where an input is known to be missing, and `ConfigError` for
    a stage that does not fit the devices here.
    """
    began, store = time.time(), open_store(settings)
    store.check_writable()
    check_trainable(settings, stages)
    planner = Planner(store, settings)
    if not build_missing:
        refuse_missing(planner, settings, stages, pins)
    cached = None
    if not refresh and is_temporary() and not _ingests(store, stages):
        cached = reuse_all(planner, settings, stages, pins, lambda line: screen.print(line, markup=False))
    if cached is None:
        from tasks.ops.fitting import check_stages_fit

        check_engine(settings, stages)
        check_stages_fit(settings, stages, again=refresh, pins=pins)
    if not quiet:
        screen.print(
            f"profile [bold]{settings.profile}[/], store {settings.storage.root}, tracking {settings.tracking.uri}"
        )
    if cached is not None:
        return Ran(cached, _seconds(cached, began))
    return _run_flow(settings, stages, refresh, quiet=quiet, pins=pins, build_missing=build_missing)


def _ingests(store: Store, stages: Sequence[str]) -> bool:
    """Whether the pipeline would take in what is in the inbox, which a stage that runs by itself leaves there."""
    return len(stages) > 1 and "prepare" in stages and not is_empty(store)


def _run_flow(
    settings: Settings,
    stages: Sequence[str],
    refresh: Sequence[str],
    *,
    quiet: bool,
    pins: Mapping[str, str],
    build_missing: bool,
) -> Ran:
    """Loads Prefect, and starts its temporary server where no other is set."""
    from flows.pipeline import STAGE_FLOWS, train_pipeline
    from tasks.orchestration.compute import watch_with

    tie_temporary_server()
    began: list[float] = []

    with progress_bars(quiet=quiet) as bars:

        def watch(name: str) -> Watch:
            began.append(time.time())
            return bars.watch(name)

        watch_with(watch)
        try:
            if len(stages) == 1:
                stage = STAGE_FLOWS[stages[0]]
                results = [stage(settings, inputs=pins, build_missing=build_missing, refresh=bool(refresh))]
            else:
                wanted, again = ([name for name in RECIPE if name in names] for names in (stages, refresh))
                results = train_pipeline(settings, stages=wanted, refresh=again)
            return Ran(results, _seconds(results, began[0] if began else time.time()))
        finally:
            watch_with(None)


def _seconds(results: Sequence[StageResult], began: float) -> dict[str, float]:
    """Where the time since this process was started went: before the first stage, in stages, and the rest."""
    import psutil

    created = psutil.Process().create_time()
    total, stages = time.time() - created, sum(result.seconds for result in results)
    parts = {"total": total, "stages": stages, "start": began - created}
    parts["rest"] = max(0.0, total - stages - parts["start"])
    return {name: round(value, 1) for name, value in parts.items()}


def announce(settings: Settings, ran: Ran, *, as_json: bool, options: str) -> None:
    """The stages, the accuracy table, the report, the registry entry and the next commands, which take `options`."""
    results, seconds = ran
    report = _report(settings, results)
    if as_json:
        said = {"stages": [stage_json(result) for result in results], **report_json(report or {}), "seconds": seconds}
        print_json(said)
        return
    out.print()
    out.print(stage_lines(results))
    out.print(
        f"{seconds['total']:.1f} s by the clock: {seconds['stages']:.1f} s in stages, {seconds['start']:.1f} s before "
        f"the first (starting Python, and Prefect's server if anything runs), {seconds['rest']:.1f} s around them "
        "(planning, Prefect)"
    )
    if report:
        out.print("\nheld-out accuracy, greedy, both presentation orders (% with 95 % interval)")
        scores = in_order(report["accuracy"], EVALUATED)
        out.print(plain_table(_column_a_model(scores)))
        header, weakest = kind_cells(scores, by=EVALUATED[-1])
        if weakest:
            out.print(f"\nthe kinds that {EVALUATED[-1]} is weakest in, thinking (%)")
            out.print(plain_table([header, *([cell.value for cell in row] for row in weakest)]))
    _where(settings, results, options)


def _column_a_model(scores_by_model: dict[str, Any]) -> list[list[str]]:
    """The stage table turned on its side, intervals below their values: so it fits a terminal of 80 columns."""
    header, rows = stage_cells(scores_by_model)
    columns = [[f"{cell.value}\n({cell.interval})" if cell.interval else cell.value for cell in row] for row in rows]
    return [list(line) for line in zip(header, *columns, strict=True)]


def _where(settings: Settings, results: Sequence[StageResult], options: str) -> None:
    by_name = {result.name: result for result in results}
    store = open_store(settings)
    out.print()
    example = "--prompt 'a red circle at top left' A.png B.png"
    if evaluated := by_name.get("evaluate"):
        report = store.fetch(evaluated.outputs["report"])
        example = _example(report / "example") or example
        out.print(f"report     {report / 'report.html'}")
    judge = ""
    if promoted := by_name.get("promote"):
        registered = read_output(store, promoted.outputs, "registration")
        name, aliases = settings.tracking.registered_model, registered["aliases"]
        judge = f"judge{options}{'' if 'champion' in aliases else ' --model challenger'} {example}"
        out.print(f"registry   models:/{name}/{registered['version']} as {', '.join(aliases)}")
        out.print(f"gate       {registered['headline']}")
        for reason in registered["reasons"]:
            out.print(f"           - {reason}")
    for result in results:
        if result.mlflow_run:
            out.print(f"mlflow     {result.name:<18} run {result.mlflow_run}")
    out.print("next")
    for line in _next_commands(settings, results[-1].name if results else "", options, judge):
        out.print(f"  {line}")


def _next_commands(settings: Settings, last: str, options: str, judge: str) -> list[str]:
    """What a person may type now, as it can be typed in this folder."""
    here = program()
    if last != "promote":
        following = RECIPE[RECIPE.index(last) + 1] if last in RECIPE else RECIPE[0]
        return [f"{here} {following}{options}", f"{here} artifacts ls{options}"]
    mlflow = here.removesuffix("thinkreward") + "mlflow"
    return [
        f"{mlflow} ui --backend-store-uri {settings.tracking.uri}    # runs, curves and the registry",
        f"{here} {judge}",
        f"{here} run{options} --set grpo.learning_rate=1e-5    # only grpo, evaluate and promote run again",
    ]


def _example(folder: Path) -> str | None:
    """A held-out pair as arguments of `judge`, if the report has one beside it."""
    files = sorted(folder.glob("candidate-*")) if folder.is_dir() else []
    if not files:
        return None
    return f"--prompt {shlex.quote((folder / 'prompt.txt').read_text())} {shlex.join(map(str, files))}"


def _report(settings: Settings, results: Sequence[StageResult]) -> dict[str, Any] | None:
    evaluated = next((result for result in results if result.name == "evaluate"), None)
    if evaluated is None:
        return None
    return read_output(open_store(settings), evaluated.outputs, "report")


def dry_run_lines(settings: Settings, stages: Sequence[str], refresh: Sequence[str], *, as_json: bool) -> None:
    """Which stages would run, which are cached, and why not."""
    started = time.monotonic()
    planner = Planner(open_store(settings), settings)
    rows = []
    for name in RECIPE:
        if name in stages:
            planned = planner.plan(name)
            forced = name in refresh
            state = "cached" if planned.cached and not forced else "run"
            reason = "refreshed" if forced else planned.reason
            rows.append({"name": name, "state": state, "key": planned.next_step.key, "reason": reason})
    if as_json:
        print_json({"stages": rows, "seconds": round(time.monotonic() - started, 2)})
        return
    heading = ["stage", "would", "key", "why"]
    out.print(
        plain_table(
            [heading, *([r["name"] or "", r["state"] or "", (r["key"] or "")[:12], r["reason"] or ""] for r in rows)]
        )
    )
