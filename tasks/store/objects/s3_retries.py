"""How often S3 is asked, after which pauses, and for how long: by botocore, and again for the operation around it."""

import os

from models.errors import StoreError
from models.retry_policy import RetryPolicy

# An operation is not begun again after this long, whatever it had left of its attempts.
_BUDGET_S = 20.0
_FIRST_PAUSE_S = 0.2


def attempts() -> int:
    """AWS_MAX_ATTEMPTS, 5 if unset. Raises `StoreError` if it is no number."""
    try:
        return max(1, int(os.environ.get("AWS_MAX_ATTEMPTS", "5")))
    except ValueError:
        raise StoreError(f"AWS_MAX_ATTEMPTS {os.environ['AWS_MAX_ATTEMPTS']!r} is no number: unset it") from None


def operation_policy() -> RetryPolicy:
    """The policy of a whole operation, which botocore's own repeats of its requests are part of."""
    return RetryPolicy(attempts(), _FIRST_PAUSE_S, jitter=0.5, budget_s=_BUDGET_S)
