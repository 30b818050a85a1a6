"""What the base model is pretrained on, in which order and for how long."""

from dataclasses import dataclass

from models.shapes.lessons.mixes import COMPARING, MATCHING, REASONING, REREADING, SEEING, Mix


@dataclass(frozen=True)
class Phase:
    """So many steps on batches of so many lessons of one mix."""

    steps: int
    batch: int
    mix: Mix


@dataclass(frozen=True)
class Leg:
    """Phases under one optimizer, whose learning rate rises to `peak_lr` and falls along a cosine over all of them."""

    phases: tuple[Phase, ...]
    peak_lr: float

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return sum(phase.steps for phase in self.phases)


SIGHT = Leg((Phase(1800, 128, {}),), 1.2e-3)  # of pictures, not lessons
LEGS = (
    Leg((Phase(400, 64, SEEING), Phase(1000, 32, MATCHING), Phase(6500, 32, COMPARING)), 1.2e-3),
    Leg((Phase(1400, 32, REASONING),), 8e-4),
)
REWORDED = Leg((Phase(1300, 32, REREADING),), 5e-4)  # for a base that knows all of it in other words
