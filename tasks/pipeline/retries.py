"""Which failures of a task are worth another try, and how long to wait before it."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from configs.schema import Settings
from models.errors import ThinkrewardError
from models.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun

Result = TypeVar("Result")
log = logging.getLogger(__name__)


def run_logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    """The run's logger; outside a run the ordinary one."""
    from prefect import get_run_logger  # loaded by whatever is a run
    from prefect.exceptions import MissingContextError

    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)


def is_retryable(task: object, run: "TaskRun", state: "State[Any]") -> bool:
    """Whether trying again can help: lost connections, 5xx, preemption; not bad settings, bad data or full memory."""
    error = state.result(raise_on_failure=False)
    transient = _is_transient(error)
    if transient:
        log.warning("%s; trying again", error)  # on a terminal, where Prefect's own lines are not shown
    return transient


def call_with_retries(settings: Settings, action: Callable[[], Result]) -> Result:
    """What `action` gives, called again as a task is; for what a flow asks between its tasks."""

    def on_wait(error: BaseException, pause_s: float) -> None:
        run_logger().warning("%s; trying again in %g s", error, pause_s)

    return _policy(settings).call(action, _is_transient, on_wait)


def with_retries(task: Any, settings: Settings) -> Any:
    """The task with the profile's retries, each after twice the pause of the one before."""
    pauses = _policy(settings).pauses()
    return task.with_options(
        retries=settings.runtime.retries, retry_delay_seconds=pauses or None, retry_condition_fn=is_retryable
    )


def _policy(settings: Settings) -> RetryPolicy:
    return RetryPolicy(attempts=settings.runtime.retries + 1, first_pause_s=settings.runtime.retry_delay_s)


def _is_transient(error: object) -> bool:
    return isinstance(error, ThinkrewardError) and error.retryable
