"""Watching that a judge whose answers are rewards gives answers.

A comparison without a valid answer is worth one half to both, which is right for a few, and no signal at all where
it is the rule: training would go on for hours and learn nothing.
"""

import threading
from collections import Counter, deque
from collections.abc import Sequence

from models.errors import ModelError

LATEST = 100  # comparisons that the share is taken over
FEWEST = 10  # comparisons from which on it is


class JudgeSilent(ModelError):
    """The judge gives too few valid answers to train on."""


class AnswerWatch:
    """The latest comparisons of one reward function: raises above a share without a valid answer.

    It may be used from several threads. `most` is from 0 to 1, and 1 never raises.
    """

    def __init__(self, most: float) -> None:
        if not 0 <= most <= 1:
            raise ValueError(f"max_unanswered is {most}: give a share from 0 to 1")
        self._most = most
        self._latest: deque[str | None] = deque(maxlen=LATEST)
        self._lock = threading.Lock()

    def record(self, faults: Sequence[str | None]) -> None:
        """What was wrong with the answers to further comparisons; None for a valid one.

        Raises `JudgeSilent` with the reasons, most frequent first.
        """
        with self._lock:
            # What one call asks is judged as a whole, however much it is.
            self._latest.extend(faults)
            latest = list(faults) if len(faults) > LATEST else list(self._latest)
        without = Counter(fault for fault in latest if fault is not None)
        if len(latest) < FEWEST or without.total() <= self._most * len(latest):
            return
        reasons = ", ".join(f"{fault} {count}" for fault, count in without.most_common(5))
        raise JudgeSilent(
            f"the judge gave no valid answer to {without.total()} of the latest {len(latest)} comparisons ({reasons}), "
            f"more than max_unanswered={self._most:g} of them: such rewards teach nothing. See what it answers and why "
            "its endpoint refuses, or give the reward function a higher max_unanswered"
        )
