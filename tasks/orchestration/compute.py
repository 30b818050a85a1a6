"""The Prefect side of a stage: it is planned in the flow, and one task reuses or computes what was planned.

Our store is the truth: Prefect's record of a task is the small `StageResult`, and its own cache is off,
so that a record whose artifact is gone is never used.
"""

import threading
from collections.abc import Callable, Mapping
from functools import partial

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE

from configs.forms import complete
from configs.schema import Settings
from tasks.ops.fitting import check_stages_fit
from tasks.orchestration.base_model import logged_watch, publish_base
from tasks.orchestration.dispatch import dispatch_to_work_pool, here
from tasks.orchestration.run_pages import best_effort, name_run, show
from tasks.orchestration.worker_process import init_worker_process
from tasks.pipeline.engines import check_engine
from tasks.pipeline.graph import NEED_BASE
from tasks.pipeline.plan import Planner, StagePlan, check_trainable
from tasks.pipeline.retries import call_with_retries, with_retries
from tasks.pipeline.run import StageResult, Watch, open_store, run_step, run_steps

_watch: Callable[[str], Watch] | None = None
_lock = threading.Lock()


def watch_with(make: Callable[[str], Watch] | None) -> None:
    """Let a command line follow stages: `make(stage)` gives each stage's watch."""
    global _watch
    with _lock:
        _watch = make


@task(
    name="stage",
    task_run_name="{plan.name}",
    cache_policy=NO_CACHE,
    persist_result=True,
    result_serializer="json",
    log_prints=False,
)
def run(plan: StagePlan, settings: Settings, refresh: str) -> StageResult:
    """Reuse or compute one stage, or the step that is part of one; the heavy work happens in a child process."""
    shown = plan.stage.part_of or plan.name
    watch = _watch_of(shown)
    watch.keyed = lambda key: best_effort(lambda: name_run(shown, settings, key))
    return run_step(plan, settings, refresh=refresh, watch=watch)


def _watch_of(stage: str) -> Watch:
    return _watch(stage) if _watch else logged_watch()


def compute(
    name: str,
    settings: Settings,
    refresh: bool = False,
    inputs: Mapping[str, str] | None = None,
    build_missing: bool = False,
) -> StageResult:
    """One stage on the latest upstream artifacts or those that `inputs` names; `build_missing` computes those."""
    settings, pins = complete(settings), inputs or {}
    check_trainable(settings, (name,))
    check_engine(settings, (name,))
    init_worker_process()
    check_stages_fit(settings, (name,), again=(name,) if refresh else (), pins=pins)
    planner = Planner(open_store(settings), settings)
    if build_missing:
        _build_missing(planner, settings, name, pins)
    return compute_planned(plan_stage(planner, settings, name, pins), settings, refresh)


def plan_stage(planner: Planner, settings: Settings, name: str, pins: Mapping[str, str] | None = None) -> StagePlan:
    """The plan of a stage that is about to run. Raises `UpstreamMissing`.

    The base model is published before the stages that need it; before `distill` too, whose answers cost money.
    """
    if name in NEED_BASE and "base" not in (pins or {}):
        base = call_with_retries(settings, partial(planner.plan, "base"))
        if not base.cached:
            with_retries(publish_base, settings)(base, settings)
            planner.changed("base")
    return call_with_retries(settings, partial(planner.ready, name, pins))


def compute_planned(plan: StagePlan, settings: Settings, refresh: bool = False) -> StageResult:
    """The planned stage's result, reused or computed by this run."""
    # Whatever is retried of the run that a person or schedule started is the same request to compute again.
    request = str(runtime.flow_run.root_flow_run_id) if refresh else ""
    result = run_steps(plan, request, lambda step: with_retries(run, settings)(step, settings, request))
    _watch_of(plan.name).ended(result.state)
    best_effort(lambda: show(result, settings))
    return result


def _build_missing(planner: Planner, settings: Settings, name: str, pins: Mapping[str, str]) -> None:
    """Compute the stages before this one that have no result, each where its deployment runs."""
    upstream = call_with_retries(settings, partial(planner.upstream, name, pins))
    missing = [plan.name for plan in upstream if not plan.cached]
    check_trainable(settings, missing)
    check_engine(settings, here(missing))
    check_stages_fit(settings, here(missing))
    for one in missing:
        plan = plan_stage(planner, settings, one)
        if dispatch_to_work_pool(plan, settings) is None:
            compute_planned(plan, settings)
        planner.changed(one)
