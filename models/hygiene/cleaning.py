"""All of hygiene in its order: what shows a benchmark goes, then label conflicts are resolved, then duplicates go.

What gives a benchmark away has no vote on what stays, nor is it what others are a duplicate of. Of the rest every vote
counts, duplicates' too.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from models.hygiene.conflicts import Rule, settle_conflicts
from models.hygiene.decontamination import decontaminated
from models.hygiene.dedup_record import DedupRecord
from models.hygiene.duplicates import exact_duplicates, near_duplicates
from models.hygiene.removal import RemovedPair, manifest


@dataclass(frozen=True)
class Cleaned:
    """The pairs that stay, by source and id, those that do not, and how many conflicts were found."""

    kept: list[DedupRecord]
    removed: list[RemovedPair]
    conflicts: int

    def summary(self) -> dict[str, Any]:
        """Plain JSON for a manifest: counts by source and reason, and every removed id."""
        return {**manifest(self.removed), "conflicts": self.conflicts}


def clean_sources(
    rows: Iterable[DedupRecord], benchmarks: Mapping[str, Iterable[DedupRecord]], *, near_bits: int, conflicts: Rule
) -> Cleaned:
    """The training pairs fit for use. The result does not depend on the order of `rows` or of the benchmarks."""
    clear = decontaminated(rows, benchmarks, near_bits)
    resolved = settle_conflicts(clear.kept, conflicts, near_bits)
    once = exact_duplicates(resolved.kept)
    apart = near_duplicates(once.kept, near_bits)
    removed = [*clear.removed, *resolved.removed, *once.removed, *apart.removed]
    return Cleaned(apart.kept, removed, len(resolved.conflicts))
