"""Duplicates in training data: of equal pairs, the one stays whose source and id sort first.

Only pairs that agree are duplicates; the same pair with another label is a conflict (models/hygiene/conflicts.py),
which should be resolved before, while every vote is still there.
"""

from collections.abc import Iterable

from models.hygiene.dedup_record import DedupRecord
from models.hygiene.removal import FilterResult, RemovedPair
from models.hygiene.same import Member, near_pairs, same_pairs

NEAR_BITS = 4  # what re-encoding and half size change in 99 of 100 pictures (models/hygiene/perceptual.py)


def exact_duplicates(pairs: Iterable[DedupRecord]) -> FilterResult:
    """Without pairs of the same task, normalised prompt, media and texts in either order, and label, as an earlier."""
    firsts: list[Member] = []
    removed: list[RemovedPair] = []
    for members in same_pairs(pairs):
        by_label = {one.label: one for one in reversed(members)}
        firsts += by_label.values()
        removed += [
            _removed(one, by_label[one.label], "duplicate") for one in members if one is not by_label[one.label]
        ]
    return _filtered(firsts, removed)


def near_duplicates(pairs: Iterable[DedupRecord], within: int = NEAR_BITS) -> FilterResult:
    """Without pairs that agree with an earlier one that stays, each medium the same or within so many of 64 bits.

    Raises `ConfigError` for a distance beyond 16.
    """
    firsts: list[Member] = []
    removed: list[RemovedPair] = []
    for first, *followers in near_pairs(pairs, within, one_label=True):
        firsts.append(first)
        removed += [_removed(one, first, "near duplicate") for one in followers]
    return _filtered(firsts, removed)


def _removed(one: Member, kept: Member, kind: str) -> RemovedPair:
    return RemovedPair(one.pair.source, one.pair.id, f"{kind}: of {kept.pair.source}/{kept.pair.id}, which stays")


def _filtered(firsts: list[Member], removed: list[RemovedPair]) -> FilterResult:
    kept = sorted((one.pair for one in firsts), key=lambda one: one.name)
    return FilterResult(kept, sorted(removed, key=lambda one: (one.source, one.id)))
