"""Which pairs GRPO trains on, and which it validates on, from rejection sampling's pass rates.

A small set of wrong answers alone inverts a judge while its training reward rises (docs/training.md), so
the presets other than the paper's take the pairs that are sometimes right first and mix in solved ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

Band = Literal["wrong_only", "partial", "mixed", "below_one"]


@dataclass(frozen=True)
class Curriculum:
    """Pair ids: to train on in order, to validate on, and how many of the former were hard."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    hard: int


def in_band(rate: float, band: Band) -> bool:
    """Whether a pass rate (0 to 1) counts as hard: 0 for `wrong_only`, between 0 and 1 for `partial`, else below 1."""
    if band == "wrong_only":
        return rate == 0.0
    return rate < 1.0 and (band != "partial" or rate > 0.0)


def plan_curriculum(
    pass_rates: Mapping[str, float], *, band: Band, pairs: int, solved_share: float, validation: int, seed: int
) -> Curriculum:
    """Choose at most `pairs` training pairs, `solved_share` of them solved, apart from `validation` others.

    Validation pairs are drawn from all pass rates alike, so that their accuracy says how the model does
    in general. `mixed` takes rates strictly between 0 and 1 before those at 0.
    """
    rng = Random(seed)
    ids = sorted(pass_rates)
    rng.shuffle(ids)
    held = tuple(ids[: min(validation, len(ids) // 3)])
    rest = ids[len(held) :]
    hard = [one for one in rest if in_band(pass_rates[one], band)]
    if band == "mixed":
        hard.sort(key=lambda one: pass_rates[one] == 0.0)
    solved = [one for one in rest if pass_rates[one] == 1.0]
    chosen = hard[: max(1, round(pairs * (1 - solved_share)))]
    # The share is of what is trained on, so that few hard pairs do not drown in solved ones.
    share = round(len(chosen) * solved_share / (1 - solved_share)) if solved_share < 1 else pairs
    easy = solved[: min(share, max(0, pairs - len(chosen)))]  # rounding never passes `pairs`
    train = [*chosen, *easy]
    rng.shuffle(train)
    return Curriculum(train=tuple(train), validation=held, hard=len(chosen))
