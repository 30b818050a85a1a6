"""Names and values as MLflow takes them."""

import logging
import re
import time
from collections.abc import Mapping

logger = logging.getLogger(__name__)

LONGEST_PARAM, LONGEST_TAG = 6000, 5000  # characters: MLflow's limits, which it applies by refusing


def now_ms() -> int:
    """Now, in Unix milliseconds, as MLflow's times are."""
    return int(time.time() * 1000)


def clean_name(name: str) -> str:
    """A name of letters, digits, `_` and `-`."""
    return re.sub(r"[^\w\-]", "_", name)


def as_numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    """Plain floats (also from numpy and torch scalars) under names that MLflow takes; other values are logged."""
    numbers = {}
    for name, value in metrics.items():
        try:
            numbers[re.sub(r"[^\w\-. /]", "_", name)] = float(value)
        except (TypeError, ValueError):
            logger.warning("The metric %s is invalid: %r is no number", name, value)
    return numbers


def as_strings(values: Mapping[str, object], longest: int) -> dict[str, str]:
    """Values as texts of `longest` characters at most."""
    return {key: str(value)[:longest] for key, value in values.items()}


def first_line(error: Exception) -> str:
    """The first line of an error, in 300 characters at most."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
