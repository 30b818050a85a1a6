"""The history of validation that a checkpoint of GRPO carries, and which of its entries is best."""

from collections.abc import Sequence

HISTORY = "validation.json"  # in a checkpoint: a list of {"step", "accuracy"}, the start first


def best_of(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """The first of the best entries, so that an equal later checkpoint does not replace an earlier one or the start.

    >>> best_of([{"step": 0, "accuracy": 0.7}, {"step": 10, "accuracy": 0.8}, {"step": 20, "accuracy": 0.8}])["step"]
    10
    """
    return max(history, key=lambda entry: entry["accuracy"])
