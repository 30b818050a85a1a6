"""The one retry policy: which pauses, how many attempts, and for how long. The loop is tenacity's.

Callers say what is transient: S3 by its errors, flows by `ThinkrewardError.retryable`. tenacity and not stamina, which
wraps it: stamina reports a wait through hooks of the whole process, and each caller here has words of its own for it.
Tracking (tasks/tracking/tracked_run.py) has no policy, since it must not hold up training: it keeps what MLflow missed
and sends it with what is logged later.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

Result = TypeVar("Result")
DOUBLINGS = 10  # after which pauses stay as they are


@dataclass(frozen=True)
class RetryPolicy:
    """At most `attempts` calls, none begun after `budget_s`; pauses start at `first_pause_s` and double.

    `jitter` is the share of a pause that chance may take off, so that clients of a busy server do not return together.
    """

    attempts: int
    first_pause_s: float
    jitter: float = 0.0
    budget_s: float = float("inf")

    def pauses(self) -> list[float]:
        """Seconds before each further attempt, without jitter; the last one holds for all that follow.

        >>> RetryPolicy(attempts=4, first_pause_s=1.5).pauses()
        [1.5, 3.0, 6.0]
        """
        return [self._pause(number) for number in range(min(self.attempts - 1, DOUBLINGS + 1))]

    def call(
        self,
        action: Callable[[], Result],
        is_retryable: Callable[[BaseException], bool],
        on_wait: Callable[[BaseException, float], None] = lambda error, pause_s: None,
    ) -> Result:
        """What `action` returns, called again after errors that are retryable; the last error is raised as it is.

        `on_wait` receives the error and the pause in seconds before each further attempt.
        """

        def before_sleep(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if error is not None:
                on_wait(error, state.upcoming_sleep)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_retryable),
            stop=tenacity.stop_after_attempt(self.attempts) | tenacity.stop_after_delay(self.budget_s),
            wait=lambda state: self._pause(state.attempt_number - 1) * random.uniform(1.0 - self.jitter, 1.0),
            before_sleep=before_sleep,
            reraise=True,
        )
        return retrying(action)

    def _pause(self, number: int) -> float:
        return float(self.first_pause_s * 2 ** min(number, DOUBLINGS))
