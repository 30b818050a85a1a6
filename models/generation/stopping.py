"""Ending a generation for which nobody waits any more."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from models.errors import Cancelled


def stopping_criteria(is_cancelled: Callable[[], bool] | None) -> StoppingCriteriaList:
    """What `model.generate` calls after each token. Raises `Cancelled` if `is_cancelled` is true already."""
    if is_cancelled is None:
        return StoppingCriteriaList()
    criterion = _CancellationCheck(is_cancelled)
    criterion.check()
    return StoppingCriteriaList([criterion])


class _CancellationCheck(StoppingCriteria):
    def __init__(self, is_cancelled: Callable[[], bool]) -> None:
        self.is_cancelled = is_cancelled

    def check(self) -> None:
        if self.is_cancelled():
            raise Cancelled("nobody waits for this answer any more")

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """None of the sequences, (batch,), ends here."""
        self.check()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
