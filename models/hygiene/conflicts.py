"""The same pair with opposite labels, or with a tie against a decision: found, and resolved by a rule."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from models.hygiene.dedup_record import DedupRecord
from models.hygiene.removal import RemovedPair
from models.hygiene.same import Member, near_pairs, same_pairs
from models.pairs.preference import Preferred

Rule = Literal["drop", "majority", "keep"]


@dataclass(frozen=True)
class Conflict:
    """Pairs that are the same and labelled differently, each label in the presentation order of the first."""

    members: tuple[Member, ...]

    @property
    def winner(self) -> Preferred | None:
        """The label with the most votes, one a pair; none where two have as many."""
        votes = Counter(one.label for one in self.members).most_common(2)
        return None if votes[0][1] == votes[1][1] else votes[0][0]


@dataclass(frozen=True)
class ResolvedConflicts:
    """What stays and what was removed, by source and id, and every conflict found, whatever the rule."""

    kept: list[DedupRecord]
    removed: list[RemovedPair]
    conflicts: list[Conflict]


def settle_conflicts(pairs: Iterable[DedupRecord], rule: Rule, within: int | None = None) -> ResolvedConflicts:
    """Find conflicts, and `drop` all their pairs, drop all but the `majority`'s, or `keep` them.

    Under `majority` a conflict with equal votes is dropped. The same pair is one with the same task, normalised prompt,
    media and texts in either order; with `within` also one whose media are near by so many of 64 bits. Every pair is
    one vote, so duplicates should still be there. Raises `ConfigError` for a distance beyond 16.
    """
    groups = same_pairs(pairs) if within is None else near_pairs(pairs, within, one_label=False)
    kept: list[DedupRecord] = []
    removed: list[RemovedPair] = []
    conflicts: list[Conflict] = []
    for members in groups:
        if len({one.label for one in members}) == 1:
            kept += [one.pair for one in members]
            continue
        conflict = Conflict(tuple(members))
        conflicts.append(conflict)
        for one in members:
            if rule == "keep" or (rule == "majority" and one.label == conflict.winner):
                kept.append(one.pair)
            else:
                removed.append(RemovedPair(one.pair.source, one.pair.id, _reason(conflict, rule)))
    kept.sort(key=lambda one: one.name)
    removed.sort(key=lambda one: (one.source, one.id))
    return ResolvedConflicts(kept, removed, conflicts)


def _reason(conflict: Conflict, rule: Rule) -> str:
    first = conflict.members[0].pair
    votes = Counter(str(one.label) for one in conflict.members)
    counts = ", ".join(f"{label}: {votes[label]}" for label in sorted(votes))
    why = "all are dropped" if rule == "drop" else "no majority" if conflict.winner is None else "outvoted"
    return f"conflict: the pair of {first.source}/{first.id} has several labels ({counts}), {why}"
