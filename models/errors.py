"""Every error this project raises by name, in one tree.

Catch `ThinkrewardError` to distinguish a failure that we explain from one that we do not foresee.
A message gives the value, the limit and the fix; secrets never appear in one.
"""

from typing import Any, ClassVar


class ThinkrewardError(Exception):
    """Root of the tree. `exit_code` is what the command line returns, `retryable` whether trying again can help."""

    exit_code = 1
    retryable: ClassVar[bool] = False


class ConfigError(ThinkrewardError):
    """A profile, a field or a value is refused before anything runs."""

    exit_code = 2


class DataError(ThinkrewardError):
    """Preference data that cannot be used: one class of answer only, no usable rows, a bad row."""


class DataChanged(DataError):
    """A data set's files changed while they were read, so that what was found may not hold for them."""

    retryable = True


class SplitSealed(DataError):
    """A stage asks for a split, or for media of one, that it does not declare."""


class MediaError(DataError):
    """One image or video that is missing or cannot be decoded; `uri` names it.

    `passing`: the cause is not in its bytes, such as a timeout: the same medium may be usable at another time,
    so that nobody may keep this as a verdict on it. `measured` is the figure that is beyond a limit, if one is, for
    lists in which many media share a reason.
    """

    def __init__(self, uri: str, reason: str, *, passing: bool = False, measured: str = "") -> None:
        super().__init__(f"{uri}: {reason}")
        self.uri = uri
        self.reason = reason
        self.passing = passing
        self.measured = measured

    def __reduce__(self) -> tuple[Any, ...]:
        """Exceptions are pickled with one argument; this one travels between processes with all of its own."""
        return _media_error, (self.uri, self.reason, self.passing, self.measured)


def _media_error(uri: str, reason: str, passing: bool, measured: str) -> MediaError:
    return MediaError(uri, reason, passing=passing, measured=measured)


class Cancelled(ThinkrewardError):
    """Whoever asked has gone, or the service ends: what was not written for it yet is not written."""


class ModelError(ThinkrewardError):
    """A model directory that cannot be loaded, for instance one without a processor."""


class HubUnreachable(ModelError):
    """The hub gives no answer, or 5xx: it may later."""

    retryable = True


class TeacherError(ThinkrewardError):
    """The teacher gave no usable service; what it already answered is kept."""


class TeacherUnreachable(TeacherError):
    """No connection, or server errors and 429s beyond the bounded retries."""

    retryable = True


class TeacherRefused(TeacherError):
    """Key missing or refused, or a model the endpoint does not have: retrying cannot help."""


class BudgetReached(TeacherError):
    """`max_cost_usd` or `max_requests` is spent; everything paid for is kept."""


class StoreError(ThinkrewardError):
    """The artifact store failed."""


class StoreUnreachable(StoreError):
    """The storage did not answer, or answered 5xx or "slow down", beyond the bounded retries."""

    retryable = True


class StoreNotWritable(StoreError):
    """The root cannot be written; refused before work starts."""


class ArtifactCorrupt(StoreError):
    """Bytes that do not hash to what the manifest has. Never used; rebuilt or refused."""


class ArtifactMissing(StoreError):
    """A reference whose artifact is gone."""


class ArtifactUnknown(StoreError):
    """A name that is no artifact's, or that of several."""


class LeaseLost(StoreError):
    """Another run took over this stage key while we sent no heartbeat; a retry waits for its result."""

    retryable = True


class TrackingError(ThinkrewardError):
    """MLflow cannot be reached or refuses, before work starts."""


class TrackingUnreachable(TrackingError):
    """No answer from an MLflow server: it may come back."""

    retryable = True


class StageFailed(ThinkrewardError):
    """A stage's child process ended without its outputs; the message explains how to resume."""


class StageKilled(StageFailed):
    """The child process was killed from outside, by preemption for instance; a further try resumes its work."""

    retryable = True


class StageStalled(StageKilled):
    """The child process made no progress for `runtime.stall_timeout_s` and was ended; a further try resumes."""


class OutOfMemory(StageFailed):
    """The device's or the machine's memory did not suffice; the message names the setting to lower."""


class TrainingDiverged(StageFailed):
    """Loss, gradient or weights are not finite; the message names the step and the setting to lower."""


class TrainingCollapsed(StageFailed):
    """Policy optimisation lost what it earned and beat its start nowhere; the message names step and setting."""


class UpstreamMissing(StageFailed):
    """A stage needs what another has not made yet; the message names what to run first."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory; by name and words, since torch may not be loaded."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
