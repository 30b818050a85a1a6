"""An imported data set on disk: pairs in our schema whose media were looked at, in shards of the reader's rows.

    <dir>/pairs-00000.parquet      one pair a row, with the perceptual hashes of its media and its published reasoning
    <dir>/media-00000.parquet      uri, sha256, data: the media that no earlier shard holds, as they were published
    <dir>/unusable-00000.json      the rows that gave no pair: where they stand, and why

The same rows give the same bytes.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.hygiene.dedup_record import DedupRecord, text_digest
from models.pairs.preference import PreferencePair, Preferred

ROW_GROUP_BYTES = 16 << 20  # of media held in memory before they are written
SWAPPED = {"1": "2", "2": "1", "tie": "tie"}

_PAIRS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("preferred", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("where", pa.string(), nullable=False),
        pa.field("turned", pa.bool_(), nullable=False),
        pa.field("pair", pa.string(), nullable=False),
        pa.field("hashes", pa.list_(pa.list_(pa.uint64())), nullable=False),
        pa.field("reasoning", pa.string(), nullable=False),
        pa.field("aspects", pa.string(), nullable=False),
    ]
)
_MEDIA = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Imported:
    """One valid row: the pair, the perceptual hashes of each medium as shown, and what else the set has on it.

    `swapped`: the set has the candidates the other way (its column is `turned`).
    """

    pair: PreferencePair
    where: str
    swapped: bool
    hashes: tuple[tuple[int, ...], ...]
    reasoning: str
    aspects: tuple[tuple[str, Preferred], ...]


@dataclass(frozen=True)
class InvalidImport:
    """One row that gave no pair; `uri` names the medium at fault, if one is.

    Of a row that lacks nothing but its medium it is known what it would have been: a judge counts as wrong there.
    `passing` and `measured` are those of `MediaError`: with the first a later import may find the row valid.
    """

    where: str
    id: str
    reason: str
    uri: str = ""
    task: str = ""
    group: str = ""
    preferred: Preferred | None = None
    passing: bool = False
    measured: str = ""

    def plain(self) -> dict[str, Any]:
        """As it is written."""
        return {name: value for name, value in asdict(self).items() if name not in ("passing", "measured") or value}


class ImportedShard:
    """The three files of one shard."""

    def __init__(self, folder: Path, number: int) -> None:
        self.pairs = folder / f"pairs-{number:05d}.parquet"
        self.media = folder / f"media-{number:05d}.parquet"
        self.invalid_rows = folder / f"unusable-{number:05d}.json"

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """All three; the last is written last."""
        return self.pairs, self.media, self.invalid_rows

    def write(self, imported: Sequence[Imported], invalid: Sequence[InvalidImport]) -> None:
        """Write what the rows gave; the media are there by then."""
        rows = [
            {
                "id": one.pair.id,
                "task": str(one.pair.task),
                "preferred": str(one.pair.preferred),
                "group": one.pair.group,
                "where": one.where,
                "turned": one.swapped,
                "pair": one.pair.model_dump_json(),
                "hashes": [list(hashes) for hashes in one.hashes],
                "reasoning": one.reasoning,
                "aspects": json.dumps(one.aspects),
            }
            for one in imported
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=_PAIRS), self.pairs, compression="zstd")
        text = json.dumps([one.plain() for one in invalid], ensure_ascii=False, indent=1)
        self.invalid_rows.write_text(text + "\n", encoding="utf-8")

    def invalid(self) -> list[InvalidImport]:
        """The rows that gave no pair."""
        return _invalid_of(self.invalid_rows)

    def pairs_in(self) -> Iterator[PreferencePair]:
        """Its pairs."""
        return (PreferencePair.model_validate_json(one) for one in self.column(self.pairs, "pair"))

    def column(self, file: Path, name: str) -> list[str]:
        """One column of the pairs or of the media."""
        found: list[str] = pq.read_table(file, columns=[name])[name].to_pylist()
        return found


class MediaWriter:
    """Writes media into a Parquet file, a few in memory at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> "MediaWriter":
        self._writer = pq.ParquetWriter(self._path, _MEDIA, compression="none")
        return self

    def add(self, uri: str, digest: str, data: bytes) -> None:
        """Write one medium, with others once they are enough."""
        self._waiting.append({"uri": uri, "sha256": digest, "data": data})
        self._bytes += len(data)
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=_MEDIA))
        self._waiting, self._bytes = [], 0


def read_imported(folder: Path) -> Iterator[Imported]:
    """The pairs of an imported set, in the order of its rows."""
    for path in sorted(folder.glob("pairs-*.parquet")):
        for row in pq.read_table(path).to_pylist():
            yield Imported(
                PreferencePair.model_validate_json(row["pair"]),
                row["where"],
                row["turned"],
                tuple(tuple(hashes) for hashes in row["hashes"]),
                row["reasoning"],
                tuple((name, label) for name, label in json.loads(row["aspects"])),
            )


def read_invalid(folder: Path) -> list[InvalidImport]:
    """The rows of an imported set that gave no pair, in the order of its rows."""
    return [one for path in sorted(folder.glob("unusable-*.json")) for one in _invalid_of(path)]


def _invalid_of(path: Path) -> list[InvalidImport]:
    return [InvalidImport(**one) for one in json.loads(path.read_text(encoding="utf-8"))]


def dedup_record(one: Imported, source: str) -> DedupRecord:
    """What hygiene knows of an imported pair; `source` names its set among the others."""
    pair = one.pair
    texts = tuple(text_digest(side.text) for side in pair.candidates if side.text is not None)
    media = tuple(medium.sha256 for medium in pair.media())
    return DedupRecord(pair.id, source, pair.task, pair.prompt, pair.preferred, media, texts, one.hashes)


def statistics(folder: Path) -> dict[str, Any]:
    """How many rows an imported set has and what they are; labels count the candidates as published."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("tasks", "groups", "labels")}
    usable = 0
    for path in sorted(folder.glob("pairs-*.parquet")):
        columns = pq.read_table(path, columns=["task", "group", "preferred", "turned"]).to_pydict()
        usable += len(columns["task"])
        counts["tasks"].update(columns["task"])
        counts["groups"].update(columns["group"])
        for label, is_swapped in zip(columns["preferred"], columns["turned"], strict=True):
            counts["labels"][SWAPPED[label] if is_swapped else label] += 1
    reasons = Counter(one.reason for one in read_invalid(folder))
    found = {name: dict(sorted(counted.items())) for name, counted in counts.items()}
    return {
        "rows": usable + reasons.total(),
        "usable": usable,
        "quarantined": {"count": reasons.total(), "by_reason": dict(sorted(reasons.items()))},
        **found,
    }
