"""The Prefect side of a stage: one task that asks the index, and computes only what is not there.

Our store is the truth: Prefect's record of a task is the small `StageResult`, and its own cache is off,
so that a record whose artifact is gone can never be handed on.
"""

import logging
import threading
from collections.abc import Callable

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError

from configs.schema import Settings
from tasks.run_pages import show
from tasks.stages import StageResult, Watch, run_stage

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
        import tasks.promoting  # noqa: F401
        from tasks.tracking import load_client

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
def run(name: str, settings: Settings, refresh: bool) -> StageResult:
    """Reuse or compute one stage; the heavy work happens in a child process."""
    watch = _watch(name) if _watch else Watch(say=_logger().info)
    result = run_stage(name, settings, refresh=refresh, watch=watch)
    watch.ended(result.state)
    show(result, settings)
    return result


@task(name="base", task_run_name="base", cache_policy=NO_CACHE, log_prints=False)
def publish_base(settings: Settings) -> StageResult:
    """Publish the base model, so that later digests stand on its bytes."""
    return run_stage("base", settings, watch=Watch(say=_logger().info))


def compute(name: str, settings: Settings, refresh: bool = False) -> StageResult:
    """One stage, and before those that need it the base model; before `distill` too, whose answers cost money."""
    if name in ("distill", "cold-start", "evaluate"):
        publish_base(settings)
    return run(name, settings, refresh)


def _logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)
