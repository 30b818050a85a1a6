"""The Prefect side of a stage: one task that asks the index, and computes only what is not there.

Our store is the truth: Prefect's record of a task is the small `StageResult`, and its own cache is off,
so that a record whose artifact is gone can never be handed on.
"""

import threading
from collections.abc import Callable, Mapping

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE

from configs.forms import complete
from configs.schema import Settings
from tasks.ops.fitting import check_stages_fit
from tasks.pipeline.dispatch import dispatch_to_work_pool, here
from tasks.pipeline.retries import with_retries
from tasks.pipeline.run import StageResult, Watch, check_trainable, missing_upstream, open_store, run_stage
from tasks.pipeline.run_pages import best_effort, name_run, show
from tasks.pipeline.worker_process import init_worker_process
from tasks.stages.base_model import NEED_BASE, logged_watch, publish_base

_watch: Callable[[str], Watch] | None = None
_lock = threading.Lock()


def watch_with(make: Callable[[str], Watch] | None) -> None:
    """Let a command line follow stages: `make(stage)` gives each stage's watch."""
    global _watch
    with _lock:
        _watch = make


def load_ahead() -> None:
    """Import what asking the registry takes while Prefect's server starts, which is waited for anyway."""

    def load() -> None:
        import tasks.stages.promote  # noqa: F401
        from tasks.tracking.client import load_client

        load_client()

    threading.Thread(target=load, daemon=True).start()


@task(
    name="stage",
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    persist_result=True,
    result_serializer="json",
    log_prints=False,
)
def run(name: str, settings: Settings, refresh: str, inputs: Mapping[str, str]) -> StageResult:
    """Reuse or compute one stage; the heavy work happens in a child process."""
    watch = _watch(name) if _watch else logged_watch()
    watch.keyed = lambda key: best_effort(lambda: name_run(name, settings, key))
    result = run_stage(name, settings, refresh=refresh, watch=watch, pins=inputs)
    watch.ended(result.state)
    best_effort(lambda: show(result, settings))
    return result


def compute(
    name: str,
    settings: Settings,
    refresh: bool = False,
    inputs: Mapping[str, str] | None = None,
    build_missing: bool = False,
) -> StageResult:
    """One stage on the latest upstream artifacts or those that `inputs` names; `build_missing` makes what is not there.

    The base model is published before the stages that need it; before `distill` too, whose answers cost money.
    """
    settings, pins = complete(settings), inputs or {}
    check_trainable(settings, (name,))
    check_stages_fit(settings, (name,), again=(name,) if refresh else (), pins=pins)
    init_worker_process()
    if name in NEED_BASE and "base" not in pins:
        with_retries(publish_base, settings)(settings)
    if build_missing:
        missing = missing_upstream(open_store(settings), settings, name, pins)
        check_trainable(settings, missing)
        check_stages_fit(settings, here(missing))
        for upstream in missing:
            if dispatch_to_work_pool(upstream, settings) is None:
                compute(upstream, settings)
    # Whatever is tried again of the run that a person or schedule started is the same wish.
    wish = str(runtime.flow_run.root_flow_run_id) if refresh else ""
    result: StageResult = with_retries(run, settings)(name, settings, wish, pins)
    return result
