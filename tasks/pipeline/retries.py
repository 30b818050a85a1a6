"""Which failures of a task are worth another try, and how long to wait before it."""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from prefect import get_run_logger
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import MissingContextError

from configs.schema import Settings
from models.errors import ThinkrewardError

Result = TypeVar("Result")
log = logging.getLogger(__name__)
DOUBLINGS = 10


def run_logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    """The run's logger; outside a run the ordinary one."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)


def is_retryable(task: object, run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again can help: lost connections, 5xx, preemption; not bad settings, bad data or full memory."""
    error = state.result(raise_on_failure=False)
    passing = isinstance(error, ThinkrewardError) and error.retryable
    if passing:
        log.warning("%s; trying again", error)  # on a terminal, where Prefect's own lines are not shown
    return passing


def call_with_retries(settings: Settings, action: Callable[[], Result]) -> Result:
    """What `action` gives, asked again as a task is; for what a flow asks between its tasks."""
    for attempt in range(settings.runtime.retries):
        try:
            return action()
        except ThinkrewardError as error:
            if not error.retryable:
                raise
            pause = _pause(settings, attempt)
            run_logger().warning("%s; trying again in %g s", error, pause)
            time.sleep(pause)
    return action()


def with_retries(task: Any, settings: Settings) -> Any:
    """The task with the profile's retries, each after twice the pause of the one before."""
    retries = settings.runtime.retries
    pauses = [_pause(settings, attempt) for attempt in range(min(retries, DOUBLINGS))]
    return task.with_options(retries=retries, retry_delay_seconds=pauses or None, retry_condition_fn=is_retryable)


def _pause(settings: Settings, attempt: int) -> float:
    """Seconds before a further try, twice those of the one before."""
    return settings.runtime.retry_delay_s * 2.0 ** min(attempt, DOUBLINGS)
