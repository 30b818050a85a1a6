"""The pipeline as the Runs page shows it: each stage's state, what the champion was made from, GRPO's curves."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from configs.schema import Settings
from models.errors import ThinkrewardError
from models.evaluation.report.sections import Figure, duration, training_figures
from tasks.data.inbox.records import PREFIX
from tasks.pipeline.graph import RECIPE
from tasks.pipeline.pinning import find_artifact
from tasks.pipeline.plan import Planner
from tasks.stages.evaluate import curves
from tasks.store.artifacts import IndexEntry, Store
from tasks.store.leases import current_lease
from tasks.store.maintenance import Lineage, lineage, raw_data

PAGES = ("http://", "https://")


@dataclass(frozen=True)
class Result:
    """When a stage's result was made, what it took and what it is; empty while there is none."""

    when: str = ""
    took: str = ""
    memory: str = ""
    key: str = ""
    outputs: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class StageRow:
    """A stage: its state, why, and its result or, where that is to do, the newest of other settings."""

    name: str
    state: str
    why: str
    result: Result


@dataclass(frozen=True)
class Node:
    """An artifact of a lineage, or raw data, and what it was made from."""

    label: str
    below: tuple["Node", ...] = field(default=())


def stage_rows(settings: Settings, store: Store) -> list[StageRow]:
    """The stages of these settings in the recipe's order."""
    planner = Planner(store, settings)
    return [_stage(planner, store, name) for name in ("base", *RECIPE)]


def _stage(planner: Planner, store: Store, name: str) -> StageRow:
    newest = store.newest(name)
    try:
        planned = planner.plan(name)
    except ThinkrewardError as error:
        return StageRow(name, "unknown", str(error), _result(newest))
    if planned.cached:
        return StageRow(name, "done", "", _result(planned.cached_entry))
    step = planned.next_step
    if step.key is not None:
        lease = current_lease(store.objects, step.name, step.key)
        if lease is not None and not lease.released and not lease.process_is_gone():
            return StageRow(name, "running", f"on {lease.host} since {_minute(lease.acquired_at)}", _result(None))
    older = "; the figures are of its newest result" if newest else ""
    return StageRow(name, "to do", f"{planned.reason}{older}", _result(newest))


def _result(entry: IndexEntry | None) -> Result:
    if entry is None:
        return Result()
    memory = entry.facts.get("peak_memory_mib")
    return Result(
        when=_minute(entry.created_at),
        took=duration(entry.facts.get("seconds")),
        memory="" if memory is None else f"{memory:.0f}",
        key=entry.key[:12],
        outputs=tuple(f"{output} {ref.short}" for output, ref in entry.outputs.items()),
        links=tuple(_links(entry)),
    )


def _links(entry: IndexEntry) -> Iterator[tuple[str, str]]:
    """The stage's run in MLflow and in Prefect, where those have pages."""
    mlflow = entry.run_ids.get("mlflow_url", "")
    if mlflow.startswith(PAGES):
        yield "MLflow", mlflow
    if run := entry.run_ids.get("prefect"):
        from prefect.utilities.urls import url_for

        if page := url_for("flow-run", obj_id=run):
            yield "Prefect", page


def _minute(moment: str) -> str:
    """An ISO time, to the minute."""
    return moment[:16].replace("T", " ")


def champion_tree(settings: Settings, store: Store) -> Node | None:
    """What the champion was made from, back to the raw data; None while there is none."""
    try:
        return _node(lineage(store, find_artifact(store, settings, "champion")), set())
    except ThinkrewardError:
        return None


def _node(tree: Lineage, seen: set[str]) -> Node:
    """What each was made from is shown once; submissions are counted."""
    label, below = f"{tree.ref.kind} {tree.ref.short}", []
    for production in tree.made_by[:1]:
        label += f" by {production.entry.stage}"
        if tree.ref.path in seen:
            return Node(f"{label}, see above")
        seen.add(tree.ref.path)
        below += [Node(line) for line in raw_data(production.entry)]
        submissions = [name for name in production.inputs if name.startswith(PREFIX)]
        below += [Node(f"{len(submissions)} submissions of the inbox")] if submissions else []
        below += [_node(source, seen) for name, source in production.inputs.items() if name not in submissions]
    return Node(label, tuple(below))


def reward_curves(store: Store) -> list[Figure]:
    """The charts of the newest GRPO run that still has its history."""
    for entry in store.entries("grpo"):
        with suppress(ThinkrewardError):
            folder = store.fetch(entry.outputs["history"])
            return training_figures(curves(json.loads((folder / "history.json").read_text())))
    return []
