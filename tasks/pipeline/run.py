"""A planned stage -> its result: reused if it is there, else computed.

A stage that has to be computed is leased, so that of two runs with one key one works and the other waits
and then finds the result; the work itself happens in a child process (`tasks.pipeline.launch`).
"""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from configs.schema import Settings
from models.errors import ArtifactMissing, StageFailed, StoreError, ThinkrewardError
from tasks.pipeline.child import Done, Job
from tasks.pipeline.graph import NEED_BASE, RECIPE
from tasks.pipeline.launch import log_file, run_child
from tasks.pipeline.plan import ROWS_TO_RETRY, Planner, StagePlan, usable_entry, with_first
from tasks.pipeline.retries import call_with_retries
from tasks.store.artifacts import ArtifactRef, IndexEntry, Store, Work
from tasks.tracking.delivery import deliver_best_effort

PROGRESS = "progress.json"
KEPT_LOG = "output.log"
REFRESH_ID = "refresh"
MEMORY = "peak_memory_mib"  # the fact that says how much memory a stage took
State = Literal["computed", "cached", "resumed"]


class StageResult(BaseModel):
    """What a stage returns: references and figures, never bytes. `seconds` are of this call."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: State
    key: str
    seconds: float
    outputs: dict[str, ArtifactRef]
    mlflow_run: str | None = None
    mlflow_url: str | None = None
    facts: dict[str, Any] = {}


@dataclass
class Watch:
    """How a caller follows a stage: `keyed(key)`, `progress(done, total, what)`, `log(line)`, `ended(state)`."""

    keyed: Callable[[str], None] = lambda key: None
    progress: Callable[[int, int, str], None] = lambda done, total, what: None
    log: Callable[[str], None] = logging.getLogger(__name__).info
    ended: Callable[[str], None] = lambda state: None


def open_store(settings: Settings) -> Store:
    """The artifact store of these settings."""
    storage = settings.storage
    return Store(
        storage.root,
        cache_dir=Path(storage.cache_dir),
        cache_max_bytes=int(storage.cache_max_gib * 2**30),
        checksums=storage.checksums,
    )


def run_stage(
    name: str,
    settings: Settings,
    *,
    refresh: str = "",
    watch: Watch | None = None,
    pins: Mapping[str, str] | None = None,
) -> StageResult:
    """Plan a stage and run it, without Prefect. Raises what the stage raised, by its own name.

    `refresh` is the id of a request to compute it again: a retry of the same request resumes, and reuses its result.
    """
    plan = Planner(open_store(settings), settings).ready(name, pins)
    return run_steps(plan, refresh, lambda step: run_step(step, settings, refresh=refresh, watch=watch))


def reuse_all(
    planner: Planner, settings: Settings, stages: Collection[str], pins: Mapping[str, str], log: Callable[[str], None]
) -> list[StageResult] | None:
    """The stages' results in order if there is nothing to do, since every one can be reused as it is; else None.

    Raises what planning raises; a transient error after the profile's retries.
    """
    entries = []
    needs_base = not NEED_BASE.isdisjoint(stages) and "base" not in pins
    for name in [*(("base",) if needs_base else ()), *(name for name in RECIPE if name in stages)]:
        plan = call_with_retries(settings, partial(planner.plan, name, pins if name in stages else None))
        entry = _matches_refresh(plan.cached_entry, "", plan.cached_entry)
        if entry is None:
            return None
        entries.append(entry)
    deliver_best_effort(planner.store, settings, log)
    return [_result(entry, "cached", time.monotonic()) for entry in entries if entry.stage in stages]


def run_steps(plan: StagePlan, refresh: str, run: Callable[[StagePlan], StageResult]) -> StageResult:
    """Have `run` compute the step that is part of a stage, if there is one to compute, and the stage; their result."""
    if plan.first is None or (plan.first.cached and not refresh):
        return run(plan)
    first = run(plan.first)
    last = run(replace(plan, key=None))  # its key depends on what the step made
    states = (first.state, last.state)
    state: State = "cached" if states == ("cached", "cached") else "resumed" if "resumed" in states else "computed"
    return last.model_copy(update={"state": state, "seconds": round(first.seconds + last.seconds, 2)})


def run_step(plan: StagePlan, settings: Settings, *, refresh: str = "", watch: Watch | None = None) -> StageResult:
    """Reuse what the plan found, or compute one stage under its lease, in a process of its own."""
    watch, started, store = watch or Watch(), time.monotonic(), open_store(settings)
    if plan.key is None:
        plan = with_first(store, settings, plan)
    key, before = str(plan.key), plan.cached_entry
    watch.keyed(key)
    deliver_best_effort(store, settings, watch.log)
    if entry := _matches_refresh(before, refresh, before):
        return _result(entry, "cached", started)
    store.check_writable()
    _reach_tracking(settings)
    owner = f"{socket.gethostname()}/{os.getpid()}"
    ttl_s, refs = settings.storage.lease_ttl_s, list(plan.inputs.values())
    with store.lease(plan.name, key, owner=owner, ttl_s=ttl_s, on_wait=watch.log, refs=refs) as lease:
        if entry := _matches_refresh(usable_entry(store, settings, plan.stage, key)[0], refresh, before):
            return _result(entry, "cached", started)  # another run computed it while this one waited
        work = store.work(plan.name, key)
        request, resumed = _begin(store, work, plan, refresh)
        job = Job(stage=plan.name, key=key, body=plan.stage.body, settings=settings, inputs=dict(plan.inputs))
        try:
            done = run_child(
                job, timeout_s=settings.runtime.stage_timeout_s, watch_progress=watch.progress, log=watch.log
            )
        except ThinkrewardError:
            _keep_log(work, job, watch)
            raise
        lease.check()
        entry = _entry(plan, key, done, seconds=time.monotonic() - started, request=request)
        store.record(entry)
        work.clear()
    return _result(entry, "resumed" if resumed else "computed", started)


def _begin(store: Store, work: Work, plan: StagePlan, refresh: str) -> tuple[str, bool]:
    """Note that the work has begun: for which request to compute again, if any, and whether it is resumed."""
    progress = work.get_json(PROGRESS) or {}
    if refresh and progress.get(REFRESH_ID) != refresh:
        # Forgotten first: an interrupted refresh is resumed by itself, and an old result is not reused.
        work.clear()
        store.forget(plan.name, str(plan.key))
        progress = {}
    request = refresh or progress.get(REFRESH_ID, "")
    work.put_json(PROGRESS, {"started": True, REFRESH_ID: request})
    return request, bool(progress)


def _entry(plan: StagePlan, key: str, done: Done, *, seconds: float, request: str) -> IndexEntry:
    """The record of a computed stage; its facts include those of the step that is part of it."""
    of_first = plan.first.cached_entry.facts if plan.first and plan.first.cached_entry else {}
    facts = {**of_first, **done.facts, "seconds": round(seconds + of_first.get("seconds", 0.0), 2), REFRESH_ID: request}
    if MEMORY in facts:
        facts[MEMORY] = max(facts[MEMORY], of_first.get(MEMORY, 0))
    return IndexEntry(
        stage=plan.name,
        key=key,
        outputs=done.outputs,
        inputs=dict(plan.inputs),
        config=dict(plan.config),
        code_version=plan.stage.version,
        run_ids={**done.run_ids, **_flow_run()},
        facts=facts,
    )


def _keep_log(work: Work, job: Job, watch: Watch) -> None:
    """What a stage that failed has printed, beside its work: this machine may be gone when somebody asks."""
    with suppress(StoreError, OSError):
        work.put_file(KEPT_LOG, log_file(job))
        watch.log(f"what it printed is kept in {work.path}/blobs/{KEPT_LOG} of {job.settings.storage.root}")


def _flow_run() -> dict[str, str]:
    """The Prefect flow run that this is part of, if it is."""
    from prefect import runtime

    return {"prefect": str(runtime.flow_run.id)} if runtime.flow_run.id else {}


def _matches_refresh(entry: IndexEntry | None, refresh: str, before: IndexEntry | None) -> IndexEntry | None:
    """The entry, unless it is to be computed again and is not what came of that.

    So is one that lacks rows for a transient cause, if it was there `before`: what it is made into again has the same
    bytes, and changes nothing downstream, unless they are usable by now.
    """
    if entry is None or (refresh and entry.facts.get(REFRESH_ID) != refresh):
        return None
    return None if entry.facts.get(ROWS_TO_RETRY) and entry == before else entry


_reached: set[tuple[str, str]] = set()


def _reach_tracking(settings: Settings) -> None:
    """Before this process's first work. Raises `TrackingError`; an outage later on stops no work."""
    from tasks.tracking.runs import Tracker  # seconds to import, and nothing is tracked where nothing runs

    where = (settings.tracking.uri, settings.tracking.experiment)
    if where not in _reached:
        Tracker.connect(*where)
        _reached.add(where)


def read_output(store: Store, outputs: Mapping[str, ArtifactRef], name: str) -> dict[str, Any]:
    """The content of the output `name` that describes itself in its file `<name>.json`."""
    content: dict[str, Any] = json.loads((store.fetch(outputs[name]) / f"{name}.json").read_text())
    return content


def load_result(store: Store, settings: Settings, plan: StagePlan, started: float) -> StageResult:
    """What another run has just computed for this plan, with its seconds; `StageFailed` if it is not there."""
    entry, stale = None, ""
    with suppress(ArtifactMissing):
        plan = plan if plan.first is None else with_first(store, settings, plan)
        entry, stale = usable_entry(store, settings, plan.stage, str(plan.key))
    if entry is None:
        raise StageFailed(
            f"{plan.name} was computed on another work pool, but its result is not in {settings.storage.root}"
            f"{f' ({stale})' if stale else ''}: do both run with the same storage.root and the same release?"
        )
    return _result(entry, "computed", started).model_copy(update={"seconds": entry.facts.get("seconds", 0.0)})


def _result(entry: IndexEntry, state: State, started: float) -> StageResult:
    return StageResult(
        name=entry.stage,
        state=state,
        key=entry.key,
        seconds=round(time.monotonic() - started, 2),
        outputs=entry.outputs,
        mlflow_run=entry.run_ids.get("mlflow"),
        mlflow_url=entry.run_ids.get("mlflow_url"),
        facts=entry.facts,
    )
