"""From the rows of a published data set to pairs in our schema: shard by shard, in bounded memory.

A shard is so many rows of the reader's, valid or not, so that a killed import goes on with the first shard that is
not whole. Media are named by their digest. Their bytes are read, decoded and hashed in other processes
(models/media/decoding.py): a codec that crashes costs one row.

Pairs are swapped by a digest of their content (models/sources/submissions.py), since many sets write the better
candidate first in every row; those with a published reasoning stay as they are, because it speaks of that order.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from models.errors import DataError, MediaError
from models.media.decoding import Decoding
from models.pairs.preference import Media, PreferencePair, swapped_preference
from models.sources.fields import RowError
from models.sources.imported import Imported, ImportedShard, InvalidImport, MediaWriter
from models.sources.lookahead import Key, Lookahead, Named, Numbered, Seen, key_of
from models.sources.pair_format import pair_of
from models.sources.probing import ProbeResult
from models.sources.rows import TWICE, InRow, InvalidRow, Medium, Read, Row
from models.sources.submissions import in_drawn_order

SHARD_ROWS = 1000
SHARD_BYTES = 256 << 20  # of media that stand in the listing itself
JUDGED_FROM = 100  # rows, before a share of invalid ones means anything


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
        decoders: Decoding,
        max_bad_share: float,
        max_media_bytes: int,
        as_published: bool = False,
        kept: Callable[[int], bool] = lambda _: False,
        keep: Callable[[int], None] = lambda _: None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._shards, self._root, self._into = shards_of(read(root)), root, into
        self._source, self._as_published, self._max_bad_share = source, as_published, max_bad_share
        self._lookahead = Lookahead(decoders, root, max_media_bytes)
        self._kept, self._keep, self._on_progress = kept, keep, on_progress
        self._ids: set[str] = set()
        self._unsettled: tuple[Future[None], ImportedShard, int] | None = None
        self._stored: set[str] = set()
        self._read = self._bad = 0
        self._reasons: Counter[str] = Counter()

    def run(self) -> tuple[int, int]:
        """Import every row; gives how many there are and how many of them cannot be used.

        Raises `DataError` for too large a share of invalid rows, or none that is valid.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="shard") as self._writing:
            while (found := next(self._shards, None)) is not None:
                self._import_from(*found)
            self._settle()
        if self._read == self._bad:
            raise DataError(f"{self._root} has no valid row among {self._read}{self._most_common()}")
        check_share(self._read, self._bad, self._max_bad_share, self._root, self._most_common())
        return self._read, self._bad

    def _import_from(self, number: int, rows: Iterator[Row | InvalidRow]) -> None:
        """Take or import one shard, and import with it those after it up to the next that is kept."""
        if not self._kept(number):
            self._import(self._up_to_kept(number, rows))
            return
        self._settle()
        shard, whole = ImportedShard(self._into, number), list(rows)
        if self._takes(shard):
            self._count(shard, len(whole))
        else:
            self._import((number, row) for row in whole)

    def _up_to_kept(self, number: int, rows: Iterator[Row | InvalidRow]) -> Iterator[Numbered]:
        yield from ((number, row) for row in rows)
        for later, some in self._shards:
            if self._kept(later):
                self._shards = chain([(later, some)], self._shards)
                return
            yield from ((later, row) for row in some)

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

    def _import(self, rows: Iterator[Numbered]) -> None:
        """Import the rows of one shard after the other."""
        for number, seen in groupby(self._lookahead.through(rows), key=attrgetter("number")):
            self._import_shard(ImportedShard(self._into, number), number, seen)

    def _import_shard(self, shard: ImportedShard, number: int, rows: Iterator[Seen]) -> None:
        read = 0
        invalid: list[InvalidImport] = []
        imported: list[Imported] = []
        with ExitStack() as media_file:
            media = media_file.enter_context(MediaWriter(shard.media))
            for read, (_, row, named, new) in enumerate(rows, start=1):  # noqa: B007
                for result, data in new:
                    self._store(media, result, data)
                try:
                    imported.append(self._imported(row, named))
                except MediaError as error:
                    invalid.append(_without_medium(row, error))
                except RowError as error:
                    invalid.append(InvalidImport(row.where, row.id, str(error)))
            open_media = media_file.pop_all()

        def write() -> None:
            open_media.close()
            shard.write(imported, invalid)
            self._keep(number)

        self._settle()
        self._unsettled = self._writing.submit(write), shard, read

    def _settle(self) -> None:
        """Wait until the shard that is being written, beside the rows of the next one, is whole, and count its rows."""
        if self._unsettled is not None:
            (written, shard, read), self._unsettled = self._unsettled, None
            written.result()
            self._count(shard, read)

    def _store(self, media: MediaWriter, result: ProbeResult, data: bytes) -> None:
        if result.sha256 not in self._stored:
            self._stored.add(result.sha256)
            media.add(own_uri(result), result.sha256, data)

    def _imported(self, row: Row | InvalidRow, named: Named) -> Imported:
        if isinstance(row, InvalidRow):
            raise RowError(row.reason)
        if row.id in self._ids:
            raise RowError(TWICE)
        probed = {key: self._lookahead.of(key) for key in named}
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


def numbered_by_shard(rows: Iterable[Row | InvalidRow]) -> Iterator[Numbered]:
    """Each row with its shard's number. A shard is within `SHARD_ROWS` and (but for a single row) `SHARD_BYTES`."""
    number = count = size = 0
    for row in rows:
        own = sum(len(one.data) for one in row.media() if isinstance(one, InRow)) if isinstance(row, Row) else 0
        if count and (count == SHARD_ROWS or size + own > SHARD_BYTES):
            number, count, size = number + 1, 0, 0
        count, size = count + 1, size + own
        yield number, row


def shards_of(rows: Iterable[Row | InvalidRow]) -> Iterator[tuple[int, Iterator[Row | InvalidRow]]]:
    """The shards by their numbers, each to be read before the next one is asked for."""
    for number, some in groupby(numbered_by_shard(rows), key=itemgetter(0)):
        yield number, (row for _, row in some)


def _without_medium(row: Row | InvalidRow, error: MediaError) -> InvalidImport:
    reason = f"media: {error.reason.removeprefix('media: ').split(':')[0]}"
    known: dict[str, Any] = {}
    if isinstance(row, Row):
        known = {"task": row.task, "group": row.group, "preferred": row.preferred}
    known |= {"passing": error.passing, "measured": error.measured}
    return InvalidImport(row.where, row.id, reason, error.uri, **known)


def own_uri(probed: ProbeResult) -> str:
    """The name of a medium in the imported set."""
    return f"media/{probed.sha256}{probed.suffix}"
