"""Which pairs GRPO trains on, from rejection sampling's pass rates, which it is validated on, and which step is best.

A small set of wrong answers alone inverts a judge while its training reward rises (docs/training.md), so
the presets other than the paper's take the pairs that are sometimes right first and mix in solved ones.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest
from random import Random
from typing import Literal

from models.errors import DataError
from models.pairs.preference import PreferencePair, Task

HISTORY = "validation.json"  # in a checkpoint: a list of {"step", "accuracy"}, the start first
Band = Literal["wrong_only", "partial", "contested", "mixed", "below_one"]


@dataclass(frozen=True)
class Curriculum:
    """Pair ids to train on, in order, how many of them were hard, and the hard ones left over, the best first."""

    train: tuple[str, ...]
    hard: int
    reserve: tuple[str, ...] = ()


def in_band(rate: float, band: Band) -> bool:
    """Whether a pass rate counts as hard: 0 for `wrong_only`, else below 1; above 0 for `partial` and `contested`."""
    if band == "wrong_only":
        return rate == 0.0
    return rate < 1.0 and (band not in ("partial", "contested") or rate > 0.0)


def plan_curriculum(
    pass_rates: Mapping[str, float], *, band: Band, pairs: int, solved_share: float, seed: int
) -> Curriculum:
    """Choose at most `pairs` training pairs, `solved_share` of them solved.

    `mixed` takes rates strictly between 0 and 1 before those at 0, `contested` those nearest to 1/2 before others:
    groups of G completions lack spread with probability p^G + (1 - p)^G, least at a pass rate p of 1/2.
    """
    rng = Random(seed)
    ids = sorted(pass_rates)
    rng.shuffle(ids)
    hard = [one for one in ids if in_band(pass_rates[one], band)]
    if band == "mixed":
        hard.sort(key=lambda one: pass_rates[one] == 0.0)
    if band == "contested":
        hard.sort(key=lambda one: abs(pass_rates[one] - 0.5))
    solved = [one for one in ids if pass_rates[one] == 1.0]
    chosen = hard[: max(1, round(pairs * (1 - solved_share)))]
    # The share is of what is trained on, so that few hard pairs do not drown in solved ones.
    share = round(len(chosen) * solved_share / (1 - solved_share)) if solved_share < 1 else pairs
    easy = solved[: min(share, max(0, pairs - len(chosen)))]  # rounding never passes `pairs`
    train = [*chosen, *easy]
    rng.shuffle(train)
    return Curriculum(train=tuple(train), hard=len(chosen), reserve=tuple(hard[len(chosen) :]))


def named_pairs(ids: Sequence[str], train: Sequence[PreferencePair]) -> list[PreferencePair]:
    """The training pairs of these ids, in their order. Raises `DataError` if one is not in the training split."""
    by_id = {pair.id: pair for pair in train}
    if foreign := [one for one in ids if one not in by_id]:
        raise DataError(
            f"{len(foreign)} of the pairs that the trajectories name, {foreign[0]!r} first, are not in the training "
            "split of these preferences: run rejection-sampling on them, or give those that were sampled from"
        )
    return [by_id[one] for one in ids]


def draw_validation(pairs: Sequence[PreferencePair], most: int, seed: int) -> list[PreferencePair]:
    """At most so many decided pairs, evenly over the tasks as far as they go, drawn by seed and id.

    Raises `DataError` if none is decided: no checkpoint could be chosen.
    """
    decided = sorted((pair for pair in pairs if pair.preferred != "tie"), key=lambda pair: _drawn(seed, pair.id))
    by_task = [[pair for pair in decided if pair.task == task] for task in Task]
    in_turn = [pair for turn in zip_longest(*by_task) for pair in turn if pair is not None][:most]
    if not in_turn:
        raise DataError(
            f"none of the {len(pairs)} validation pairs prefers a candidate, so no checkpoint can be chosen: add "
            "decided pairs, or raise prepare.validation_share or prepare.validation_pairs"
        )
    return in_turn


def _drawn(seed: int, name: str) -> bytes:
    return sha256(json.dumps([seed, name]).encode()).digest()


def best_of(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """The first of the best entries, so that an equal later checkpoint does not replace an earlier one or the start.

    >>> best_of([{"step": 0, "accuracy": 0.7}, {"step": 10, "accuracy": 0.8}, {"step": 20, "accuracy": 0.8}])["step"]
    10
    """
    return max(history, key=lambda entry: entry["accuracy"])
