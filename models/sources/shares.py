"""How many of the training pairs one contributor may have, and where they stand among the others.

Of any beginning of a task's training pairs, one contributor has at most its share, rounded up: stages take the first so
many pairs of a task, and a bound on the whole would let a submission fill what a stage takes. Contributors take turns,
those who have fewest first. What finds no place is invalid, and tried again with the next version: all submissions are
in each.
"""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from models.pairs.preference import PreferencePair, Task
from models.sources.contradictions import SubmittedPair

BEYOND = "share: its contributor has its share of the training pairs of this task"
NO_NAME = "jsonl"  # the source of a row that names none


def contributor_of(submission: str, pairs: Iterable[PreferencePair]) -> str:
    """Who made a submission: the `source` that all its rows name, such as `workbench/anna`; else its own name.

    One whose rows name several has one contributor, or naming many would evade the share.
    """
    named = {pair.source for pair in pairs}
    return next(iter(named)) if len(named) == 1 and NO_NAME not in named else submission


def blended(
    own: Sequence[PreferencePair], submitted: Iterable[SubmittedPair], share: float
) -> tuple[list[PreferencePair | SubmittedPair], list[SubmittedPair]]:
    """The source's own pairs in their order with the submitted ones before and among them; and those without a place.

    Within a task the submitted ones come as early as `share` (0 to 1) lets them.
    """
    waiting: dict[Task, _Waiting] = {}
    for one in submitted:
        waiting.setdefault(one.pair.task, _Waiting(share)).add(one)
    placed: list[PreferencePair | SubmittedPair] = []
    for pair in own:
        if pair.task in waiting:
            placed += waiting[pair.task].due()
            waiting[pair.task].placed += 1
        placed.append(pair)
    for task in sorted(waiting):
        placed += waiting[task].due()
    return placed, [one for task in sorted(waiting) for one in waiting[task].left()]


class _Waiting:
    """The submitted pairs of one task that have no place yet."""

    def __init__(self, share: float) -> None:
        self.placed = 0
        self._share = share
        self._of: dict[str, deque[SubmittedPair]] = {}
        self._heap: list[tuple[int, str]] = []  # how many of a contributor have a place, and who it is

    def add(self, one: SubmittedPair) -> None:
        """Another pair, behind those of the same contributor."""
        if one.contributor not in self._of:
            self._of[one.contributor] = deque()
            heapq.heappush(self._heap, (0, one.contributor))
        self._of[one.contributor].append(one)

    def due(self) -> Iterator[SubmittedPair]:
        """Those whose turn it is: with one more place taken, their contributor is within its share, rounded up."""
        while self._heap and self._heap[0][0] < self._share * (self.placed + 1):
            count, contributor = heapq.heappop(self._heap)
            yield self._of[contributor].popleft()
            self.placed += 1
            if self._of[contributor]:
                heapq.heappush(self._heap, (count + 1, contributor))

    def left(self) -> Iterator[SubmittedPair]:
        """Those that found no place."""
        for _, contributor in sorted(self._heap, key=lambda one: one[1]):
            yield from self._of[contributor]


def held_back(reasons: Mapping[str, int]) -> dict[str, int]:
    """What is invalid for contradictions and shares, of the counts by reason of a summary."""
    kept = Counter({why: n for why, n in reasons.items() if why.startswith(("contradiction:", "share:"))})
    return dict(sorted(kept.items()))
