"""Dynamic sampling: pairs whose completions all earn the same teach nothing, and others are sampled in their place.

DAPO (arXiv 2503.14476, section 3.2) samples further prompts until a batch is full of groups with spread. Here there are
so many rounds at most, and what then lacks spread stays in the batch, which keeps its size. A pair is replaced with
both its presentations, and stays if one of them has spread. What is drawn follows from the seed and the optimizer step
alone, so that a resumed run goes on as an undisturbed one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

Row = dict[str, Any]
SPREAD = 1e-9  # rewards that differ by less are the same but for rounding


@dataclass(frozen=True)
class Reserve:
    """Further pairs by their ids, and the rows of both presentations of one, which are made when they are asked for."""

    ids: tuple[str, ...] = ()
    rows: Callable[[str], list[Row]] = lambda one: []


@dataclass
class Prompts:
    """The presentations of one pair in a generation, each as the rows of its group, and what came of them."""

    groups: list[list[Row]]
    completions: list[list[int]] = field(default_factory=list)
    has_spread: bool = False

    @property
    def pair(self) -> str:
        """The pair's id."""
        return str(self.groups[0][0]["pair_id"])

    @property
    def rows(self) -> list[Row]:
        """Those of all groups, in order."""
        return [row for group in self.groups for row in group]


# Completions, as tokens, and their weighed rewards, of rows that are sampled in a round.
Sampler = Callable[[Sequence[Row], int], tuple[list[list[int]], list[float]]]


def refilled(
    rows: Sequence[Row], group: int, sample: Sampler, reserve: Reserve, *, rounds: int, draw: str
) -> tuple[list[Row], list[list[int]], list[int]]:
    """The rows of a generation with their completions, and how many pairs each round sampled, the first one included.

    `rows` hold `group` rows for each prompt. No pair of the reserve is sampled twice, or beside itself. `draw` names
    the draw: seed and step.
    """
    batch = by_pair(rows, group)
    present = {one.pair for one in batch}
    fresh = [one for one in reserve.ids if one not in present]
    Random(draw).shuffle(fresh)
    _sampled(batch, sample, 0, group)
    counts = [len(batch)]
    for at in range(1, 1 + rounds):
        waiting = [place for place, one in enumerate(batch) if not one.has_spread][: len(fresh)]
        if not waiting:
            break
        tried = [_presented(reserve.rows(fresh.pop()), len(batch[place].groups), group) for place in waiting]
        _sampled(tried, sample, at, group)
        counts.append(len(tried))
        for place, one in zip(waiting, tried, strict=True):
            if one.has_spread:
                batch[place] = one
    return [row for one in batch for row in one.rows], [text for one in batch for text in one.completions], counts


def by_pair(rows: Sequence[Row], group: int) -> list[Prompts]:
    """The rows by pair, where groups of one pair follow each other."""
    found: list[Prompts] = []
    for at in range(0, len(rows), group):
        one = list(rows[at : at + group])
        if found and found[-1].pair == one[0]["pair_id"]:
            found[-1].groups.append(one)
        else:
            found.append(Prompts([one]))
    return found


def _presented(orders: Sequence[Row], count: int, group: int) -> Prompts:
    """A pair in so many of its presentations."""
    return Prompts([[row] * group for row in orders[:count]])


def _sampled(pairs: Sequence[Prompts], sample: Sampler, at: int, group: int) -> None:
    """Sample the pairs together, and note which have spread."""
    completions, earned = sample([row for one in pairs for row in one.rows], at)
    begun = 0
    for one in pairs:
        end = begun + len(one.rows)
        one.completions = completions[begun:end]
        groups = [earned[start : start + group] for start in range(begun, end, group)]
        one.has_spread = any(max(values) - min(values) > SPREAD for values in groups)
        begun = end
