"""Ending a generation for which nobody waits any more."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from models.errors import Cancelled


def stopping_criteria(gone: Callable[[], bool] | None) -> StoppingCriteriaList:
    """What `model.generate` asks after each token; nothing without `gone`. Raises `Cancelled` at once if it is true."""
    if gone is None:
        return StoppingCriteriaList()
    criterion = _Gone(gone)
    criterion.check()
    return StoppingCriteriaList([criterion])


class _Gone(StoppingCriteria):
    def __init__(self, gone: Callable[[], bool]) -> None:
        self.gone = gone

    def check(self) -> None:
        if self.gone():
            raise Cancelled("nobody waits for this answer any more")

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """None of the sequences, (batch,), ends here."""
        self.check()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
