"""Rejection sampling's arithmetic: which completions to keep, and how often each pair was judged right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random

from models.pairs.preference import PreferencePair


@dataclass(frozen=True)
class Sampled:
    """One sampled completion for a pair as presented (`swapped` tells if swapped)."""

    pair_id: str
    swapped: bool
    text: str
    rejection: str | None


@dataclass(frozen=True)
class PassRate:
    """How often a pair's samples were right, over both presentation orders."""

    pair_id: str
    task: str
    samples: int
    right: int

    @property
    def rate(self) -> float:
        """Share of right samples, 0 to 1."""
        return self.right / self.samples


def pass_rates(
    pairs: Sequence[PreferencePair], sampled: Sequence[Sampled], is_right: Callable[[Sampled], bool]
) -> list[PassRate]:
    """One entry a pair, in the pairs' order."""
    counts: dict[str, list[int]] = {pair.id: [0, 0] for pair in pairs}
    for one in sampled:
        counts[one.pair_id][0] += 1
        counts[one.pair_id][1] += is_right(one)
    return [PassRate(pair.id, str(pair.task), *counts[pair.id]) for pair in pairs]


def keep(
    pairs: Sequence[PreferencePair], sampled: Sequence[Sampled], *, per_pair: int, cap: int | None, seed: int
) -> list[Sampled]:
    """At most `per_pair` accepted completions a pair and `cap` a task, drawn evenly from both orders."""
    rng = Random(seed)
    accepted: dict[str, list[Sampled]] = {}
    for one in sampled:
        if one.rejection is None:
            accepted.setdefault(one.pair_id, []).append(one)
    kept: list[Sampled] = []
    by_task: dict[str, int] = {}
    for pair in sorted(pairs, key=lambda pair: rng.random()):
        choices = accepted.get(pair.id, [])
        room = per_pair if cap is None else min(per_pair, cap - by_task.get(pair.task, 0))
        chosen = _alternating(choices, rng)[: max(0, room)]
        by_task[pair.task] = by_task.get(pair.task, 0) + len(chosen)
        kept += chosen
    return kept


def _alternating(choices: Sequence[Sampled], rng: Random) -> list[Sampled]:
    """The choices in random order, the two presentation orders by turns while both last."""
    orders: list[list[Sampled]] = [[one for one in choices if one.swapped == swapped] for swapped in (False, True)]
    for order in orders:
        rng.shuffle(order)
    rng.shuffle(orders)
    return [one for turn in zip_longest(*orders) for one in turn if one is not None]
