"""What hygiene removes, and how it is reported: counts by source and reason, and every id."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from models.hygiene.dedup_record import DedupRecord


@dataclass(frozen=True, slots=True)
class RemovedPair:
    """One pair that was removed. `reason` begins with the words it is counted by, then a colon."""

    source: str
    id: str
    reason: str

    @property
    def kind(self) -> str:
        """The words that it is counted by."""
        return self.reason.split(":")[0]


@dataclass(frozen=True)
class FilterResult:
    """The pairs that stay and those that do not, each ordered by source and id."""

    kept: list[DedupRecord]
    removed: list[RemovedPair]


def manifest(removed: Iterable[RemovedPair]) -> dict[str, Any]:
    """Plain JSON: `count`, `by_reason`, `by_source` (by reason within), and the `removed` by source and id."""
    rows = sorted(removed, key=lambda one: (one.source, one.id))
    by_source: dict[str, Counter[str]] = {}
    for one in rows:
        by_source.setdefault(one.source, Counter())[one.kind] += 1
    return {
        "count": len(rows),
        "by_reason": _counted(Counter(one.kind for one in rows)),
        "by_source": {source: _counted(counts) for source, counts in by_source.items()},
        "removed": [{"source": one.source, "id": one.id, "reason": one.reason} for one in rows],
    }


def _counted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
