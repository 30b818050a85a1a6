"""From the rows of a published data set to pairs in our schema: shard by shard, in bounded memory.

A shard is so many rows of the reader's, valid or not, so that a killed import goes on with the first shard that is
not whole. Media are named by their digest. Their bytes are read, decoded and hashed in other processes
(models/media/decoding.py): a codec that crashes costs one row.

Pairs are swapped by a digest of their content (models/sources/submissions.py), since many sets write the better
candidate first in every row; those with a published reasoning stay as they are, because it speaks of that order.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.errors import DataError, MediaError
from models.media.decoding import Decoders
from models.pairs.preference import Media, PreferencePair, swapped_preference
from models.sources.fields import RowError
from models.sources.imported import Imported, ImportedShard, InvalidImport, MediaWriter
from models.sources.pair_format import pair_of
from models.sources.probing import ProbeRequest, ProbeResult, probe, probe_all
from models.sources.rows import TWICE, InRow, InvalidRow, Medium, Read, Row, name_of
from models.sources.submissions import in_drawn_order

SHARD_ROWS = 1000
SHARD_BYTES = 256 << 20  # of media that stand in the listing itself
IMAGES_PER_REQUEST = 16  # for one process at a time: small pictures take longer to send alone than to decode
JUDGED_FROM = 100  # rows, before a share of invalid ones means anything
Key = Medium | str


class ImportJob:
    """One import into the folder `into`, of what `read` finds below `root`.

    `kept(number)` puts a shard that an earlier attempt finished into the folder and returns whether there is one. It
    is not used where a row is invalid for a cause that passes, or where earlier shards have changed for such a cause.
    `keep(number)` is called for each that is whole. `as_published` leaves the presentation order to others, such as a
    benchmark's protocol.
    """

    def __init__(
        self,
        read: Read,
        root: Path,
        into: Path,
        *,
        source: str,
        decoders: Decoders,
        max_bad_share: float,
        max_media_bytes: int,
        as_published: bool = False,
        kept: Callable[[int], bool] = lambda _: False,
        keep: Callable[[int], None] = lambda _: None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._rows, self._root, self._into = read(root), root, into
        self._source, self._decoders, self._as_published = source, decoders, as_published
        self._max_bad_share, self._max_media_bytes = max_bad_share, max_media_bytes
        self._kept, self._keep, self._on_progress = kept, keep, on_progress
        self._ids: set[str] = set()
        self._probed: dict[Key, ProbeResult] = {}
        self._stored: set[str] = set()
        self._read = self._bad = 0
        self._reasons: Counter[str] = Counter()

    def run(self) -> tuple[int, int]:
        """Import every row; gives how many there are and how many of them cannot be used.

        Raises `DataError` for too large a share of invalid rows, or none that is valid.
        """
        for number, rows in enumerate(shards_of(self._rows)):
            shard = ImportedShard(self._into, number)
            if not (self._kept(number) and self._takes(shard)):
                self._import(shard, rows)
                self._keep(number)
            self._count(shard, len(rows))
        if self._read == self._bad:
            raise DataError(f"{self._root} has no valid row among {self._read}{self._most_common()}")
        check_share(self._read, self._bad, self._max_bad_share, self._root, self._most_common())
        return self._read, self._bad

    def _takes(self, shard: ImportedShard) -> bool:
        """Take a kept shard as it is. Whether it is what would be made now, after the shards before it."""
        invalid = shard.invalid()
        ids, stored = shard.column(shard.pairs, "id"), shard.column(shard.media, "sha256")
        media = {one.sha256 for pair in shard.pairs_in() for one in pair.media()}
        if (
            any(one.passing or (one.reason == TWICE and one.id not in self._ids.union(ids)) for one in invalid)
            or not self._ids.isdisjoint(ids)
            or not self._stored.isdisjoint(stored)
            or not media <= self._stored.union(stored)
        ):
            return False
        self._ids.update(ids)
        self._stored.update(stored)
        return True

    def _import(self, shard: ImportedShard, rows: list[Row | InvalidRow]) -> None:
        invalid: list[InvalidImport] = []
        imported: list[Imported] = []
        with MediaWriter(shard.media) as media:
            found = self._probe_new(rows, media)
        for row in rows:
            try:
                imported.append(self._imported(row, found))
            except MediaError as error:
                reason = f"media: {error.reason.removeprefix('media: ').split(':')[0]}"
                known: dict[str, Any] = {}
                if isinstance(row, Row):
                    known = {"task": row.task, "group": row.group, "preferred": row.preferred}
                known |= {"passing": error.passing, "measured": error.measured}
                invalid.append(InvalidImport(row.where, row.id, reason, error.uri, **known))
            except RowError as error:
                invalid.append(InvalidImport(row.where, row.id, str(error)))
        shard.write(imported, invalid)

    def _probe_new(self, rows: list[Row | InvalidRow], media: MediaWriter) -> dict[Key, ProbeResult | MediaError]:
        """What is known of each medium that these rows name; new ones are decoded, and their bytes written."""
        named = {key_of(one): (one, row.task.media_kind) for row in rows if isinstance(row, Row) for one in row.media()}
        found: dict[Key, ProbeResult | MediaError] = {key: self._probed[key] for key in named if key in self._probed}
        unknown = {key: one for key, one in named.items() if key not in found}
        for key, result in zip(unknown, self._probed_results(list(unknown.values())), strict=True):
            if isinstance(result, MediaError):
                found[key] = result
                continue
            if result.sha256 not in self._stored:
                self._stored.add(result.sha256)
                media.add(own_uri(result), result.sha256, result.data)
            found[key] = self._probed[key] = replace(result, data=b"")
        return found

    def _probed_results(self, media: Sequence[tuple[Medium, str]]) -> Iterator[ProbeResult | MediaError]:
        """What each medium turns out to be. Of a request that a codec ends, each medium is probed alone."""
        requests = [
            [ProbeRequest(one, self._root, self._max_media_bytes) for one in some] for some in requests_of(media)
        ]
        asked = ((name_of(request[0].medium), request) for request in requests)
        for request, result in zip(requests, self._decoders.map(probe_all, asked), strict=True):
            if isinstance(result, MediaError):
                yield from self._decoders.map(probe, ((name_of(seen.medium), seen) for seen in request))
            else:
                yield from result

    def _imported(self, row: Row | InvalidRow, found: Mapping[Key, ProbeResult | MediaError]) -> Imported:
        if isinstance(row, InvalidRow):
            raise RowError(row.reason)
        if row.id in self._ids:
            raise RowError(TWICE)
        probed: dict[Key, ProbeResult] = {}
        for key in map(key_of, row.media()):
            result = found[key]
            if isinstance(result, MediaError):
                raise result
            probed[key] = result
        pair = self._pair(row, probed)
        self._ids.add(row.id)
        shown = pair if row.reasoning or self._as_published else in_drawn_order(pair)
        is_swapped = shown is not pair
        hashes = {result.sha256: result.hashes for result in probed.values()}
        return Imported(
            pair=shown,
            where=row.where,
            swapped=is_swapped,
            hashes=tuple(hashes[one.sha256] for one in shown.media()),
            reasoning=row.reasoning,
            aspects=tuple((name, swapped_preference(label) if is_swapped else label) for name, label in row.aspects),
        )

    def _pair(self, row: Row, probed: Mapping[Key, ProbeResult]) -> PreferencePair:
        def opened(medium: Medium) -> Media:
            result = probed[key_of(medium)]
            return Media(kind=row.task.media_kind, uri=own_uri(result), sha256=result.sha256)

        return pair_of(row, opened, self._source)

    def _count(self, shard: ImportedShard, rows: int) -> None:
        invalid = shard.invalid()
        self._read += rows
        self._bad += len(invalid)
        self._reasons.update(one.reason for one in invalid)
        self._on_progress(self._read)
        if self._read >= JUDGED_FROM:
            check_share(self._read, self._bad, self._max_bad_share, self._root, self._most_common())

    def _most_common(self) -> str:
        return commonest(self._reasons.elements())


def commonest(reasons: Iterable[str]) -> str:
    """The three commonest reasons with their counts, in brackets; nothing where there is none."""
    counted = ", ".join(f"{reason} ({count})" for reason, count in Counter(reasons).most_common(3))
    return f" ({counted})" if counted else ""


def check_share(rows: int, bad: int, most: float, where: object, reasons: str = "") -> None:
    """Raises `DataError` if more than the share `most` of the rows cannot be used."""
    if bad > most * rows:
        raise DataError(
            f"{bad} of {rows} rows of {where} cannot be used, more than prepare.max_bad_share {most:g} allows"
            f"{reasons}: mend them (`thinkreward data validate` names them), or raise it"
        )


def shards_of(rows: Iterator[Row | InvalidRow]) -> Iterator[list[Row | InvalidRow]]:
    """The rows in parts, each within `SHARD_ROWS` and (but for a single row) `SHARD_BYTES`."""
    shard: list[Row | InvalidRow] = []
    size = 0
    for row in rows:
        own = sum(len(one.data) for one in row.media() if isinstance(one, InRow)) if isinstance(row, Row) else 0
        if shard and (len(shard) == SHARD_ROWS or size + own > SHARD_BYTES):
            yield shard
            shard, size = [], 0
        shard.append(row)
        size += own
    if shard:
        yield shard


def requests_of(media: Sequence[tuple[Medium, str]]) -> Iterator[list[Medium]]:
    """The media in the same order, in parts: images several at a time, each video alone."""
    part: list[Medium] = []
    for medium, kind in media:
        if part and (kind == "video" or len(part) == IMAGES_PER_REQUEST):
            yield part
            part = []
        part.append(medium)
        if kind == "video":
            yield part
            part = []
    if part:
        yield part


def key_of(medium: Medium) -> Key:
    """What tells media of one data set apart, without their bytes."""
    return medium.name if isinstance(medium, InRow) else medium


def own_uri(probed: ProbeResult) -> str:
    """The name of a medium in the imported set."""
    return f"media/{probed.sha256}{probed.suffix}"
