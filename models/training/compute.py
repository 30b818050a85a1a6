"""What both trainers take of the settings beside the section of what they train."""

from dataclasses import dataclass
from typing import Self

from configs.schema import Model, Runtime, Settings


@dataclass(frozen=True)
class Compute:
    """How a training computes, whatever it learns: its seed, the types of its weights, and this machine."""

    seed: int
    model: Model
    runtime: Runtime

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Of these settings."""
        return cls(settings.seed, settings.model, settings.runtime)
