"""How the command line runs the recipe and tells what came of it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.schema import Settings
from flows.console import out, plain_table, print_json, progress_bars, screen, stage_json, stage_lines
from models.report.table import stage_table
from tasks.graph import EVALUATED, RECIPE
from tasks.stages import Planned, StageResult, open_store, plan


def run_recipe(settings: Settings, stages: Sequence[str], refresh: Sequence[str], *, quiet: bool) -> list[StageResult]:
    """Check storage and, if any stage will run, tracking; then run the flow with progress on standard error."""
    store = open_store(settings)
    store.check_writable()
    known: dict[str, Planned] = {}
    if refresh or not all(plan(store, settings, name, known).cached for name in stages):
        from tasks.tracking import Tracker  # seconds to import, and nothing is tracked where nothing runs

        Tracker.connect(settings.tracking.uri, settings.tracking.experiment)
    if not quiet:
        screen.print(
            f"profile [bold]{settings.profile}[/], store {settings.storage.root}, tracking {settings.tracking.uri}"
        )
    from flows.pipeline import nightly
    from tasks.orchestration import watch_with

    with progress_bars(quiet=quiet) as bars:
        watch_with(bars.watch)
        try:
            return nightly(settings, stages=list(stages), refresh=list(refresh))
        finally:
            watch_with(None)


def announce(settings: Settings, results: Sequence[StageResult], *, as_json: bool) -> None:
    """The stages, the accuracy table, the report, the registry entry and the next commands."""
    report = _report(settings, results)
    if as_json:
        accuracy = {name: _accuracy(scores) for name, scores in report["accuracy"].items()} if report else {}
        print_json({"stages": [stage_json(result) for result in results], "accuracy": accuracy})
        return
    out.print()
    out.print(stage_lines(results))
    if report:
        out.print("\nheld-out accuracy, greedy, both presentation orders (% with 95 % interval)")
        out.print(plain_table(stage_table({name: report["accuracy"][name] for name in EVALUATED})))
    _where(settings, results)


def _where(settings: Settings, results: Sequence[StageResult]) -> None:
    by_name = {result.name: result for result in results}
    store = open_store(settings)
    out.print()
    if evaluated := by_name.get("evaluate"):
        out.print(f"report     {store.fetch(evaluated.outputs['report']) / 'report.html'}")
    if promoted := by_name.get("promote"):
        said = json.loads((store.fetch(promoted.outputs["registration"]) / "registration.json").read_text())
        name = settings.tracking.registered_model
        out.print(
            f"registry   models:/{name}/{said['version']} as {', '.join(said['aliases'])}; {'; '.join(said['reasons'])}"
        )
    runs = [f"{result.name} {result.mlflow_run[:8]}" for result in results if result.mlflow_run]
    if runs:
        out.print(f"mlflow     {settings.tracking.uri}: {', '.join(runs)}")
    out.print("next")
    for line in _next_commands(settings, results):
        out.print(f"  {line}")


def _next_commands(settings: Settings, results: Sequence[StageResult]) -> list[str]:
    last = results[-1].name if results else ""
    profile = "" if settings.profile == "shapes" else f" --profile {settings.profile}"
    if last != "promote":
        following = RECIPE[RECIPE.index(last) + 1] if last in RECIPE else RECIPE[0]
        return [f"thinkreward {following}{profile}", f"thinkreward artifacts ls{_root(settings)}"]
    return [
        f"mlflow ui --backend-store-uri {settings.tracking.uri}    # runs, curves and the registry",
        "thinkreward judge --prompt 'a red circle at top left' A.png B.png",
        f"thinkreward run{profile} --set grpo.learning_rate=1e-5    # only grpo, evaluate and promote run again",
    ]


def _root(settings: Settings) -> str:
    default = Settings().storage.root
    return "" if settings.storage.root == default else f" --set storage.root={settings.storage.root}"


def _report(settings: Settings, results: Sequence[StageResult]) -> dict[str, Any] | None:
    evaluated = next((result for result in results if result.name == "evaluate"), None)
    if evaluated is None:
        return None
    path = Path(open_store(settings).fetch(evaluated.outputs["report"])) / "report.json"
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def _accuracy(scores: dict[str, Any]) -> dict[str, Any]:
    return {name: scores[name] for name in ("think", "direct", "valid_rate", "both_orders", "unparsed")}


def dry_run_lines(settings: Settings, stages: Sequence[str], refresh: Sequence[str], *, as_json: bool) -> None:
    """Which stages would run, which are cached, and why not."""
    started = time.monotonic()
    known: dict[str, Planned] = {}
    store = open_store(settings)
    rows = []
    for name in RECIPE:
        if name in stages:
            planned = plan(store, settings, name, known)
            forced = name in refresh
            state = "cached" if planned.cached and not forced else "run"
            rows.append(
                {"name": name, "state": state, "key": planned.key, "reason": "refreshed" if forced else planned.reason}
            )
    if as_json:
        print_json({"stages": rows, "seconds": round(time.monotonic() - started, 2)})
        return
    heading = ["stage", "would", "key", "why"]
    out.print(
        plain_table(
            [heading, *([r["name"] or "", r["state"] or "", (r["key"] or "")[:12], r["reason"] or ""] for r in rows)]
        )
    )
