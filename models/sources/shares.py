"""How many of the training pairs one bringer of dropped pairs may have, and where they stand among the others.

Of any beginning of a task's training pairs, one bringer has at most its share, rounded up: stages take the first so
many pairs of a task, and a bound on the whole would let a drop fill what a stage takes. Bringers take turns, those who
have fewest first. What finds no place is left out, and tried again with the next version: all drops are in each.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from models.pairs.preference import PreferencePair, Task
from models.sources.contradictions import Brought

BEYOND = "share: who brought it has its share of the training pairs of this task"
NO_NAME = "jsonl"  # the source of a row that names none


def bringer_of(drop: str, pairs: Iterable[PreferencePair]) -> str:
    """Who brought a drop: the `source` that all its rows name, such as `workbench/anna`; else the drop itself.

    A drop whose rows name several is one bringer, or naming many would be a way round the share.
    """
    named = {pair.source for pair in pairs}
    return next(iter(named)) if len(named) == 1 and NO_NAME not in named else drop


def blended(
    own: Sequence[PreferencePair], brought: Iterable[Brought], share: float
) -> tuple[list[PreferencePair | Brought], list[Brought]]:
    """The source's own pairs in their order with the dropped ones before and among them; and those without a place.

    Within a task the dropped ones come as early as `share` (0 to 1) lets them.
    """
    waiting: dict[Task, _Waiting] = {}
    for one in brought:
        waiting.setdefault(one.pair.task, _Waiting(share)).add(one)
    placed: list[PreferencePair | Brought] = []
    for pair in own:
        if pair.task in waiting:
            placed += waiting[pair.task].due()
            waiting[pair.task].placed += 1
        placed.append(pair)
    for task in sorted(waiting):
        placed += waiting[task].due()
    return placed, [one for task in sorted(waiting) for one in waiting[task].left()]


class _Waiting:
    """The dropped pairs of one task that have no place yet."""

    def __init__(self, share: float) -> None:
        self.placed = 0
        self._share = share
        self._of: dict[str, deque[Brought]] = {}
        self._heap: list[tuple[int, str]] = []  # how many of a bringer have a place, and who it is

    def add(self, one: Brought) -> None:
        """Another pair, behind those of the same bringer."""
        if one.bringer not in self._of:
            self._of[one.bringer] = deque()
            heapq.heappush(self._heap, (0, one.bringer))
        self._of[one.bringer].append(one)

    def due(self) -> Iterator[Brought]:
        """Those whose turn it is: with one more place taken, their bringer has no more than its share, rounded up."""
        while self._heap and self._heap[0][0] < self._share * (self.placed + 1):
            count, bringer = heapq.heappop(self._heap)
            yield self._of[bringer].popleft()
            self.placed += 1
            if self._of[bringer]:
                heapq.heappush(self._heap, (count + 1, bringer))

    def left(self) -> Iterator[Brought]:
        """Those that found no place."""
        for _, bringer in sorted(self._heap, key=lambda one: one[1]):
            yield from self._of[bringer]


def held_back(reasons: Mapping[str, int]) -> dict[str, int]:
    """What contradictions and shares left out, of the counts by reason of a summary."""
    kept = Counter({why: n for why, n in reasons.items() if why.startswith(("contradiction:", "share:"))})
    return dict(sorted(kept.items()))
