"""Media looked at ahead of their rows: other processes decode while this one makes pairs and writes shards.

Rows are read as far ahead as the processes have work: a few requests each (`Decoders.map`), whose media are all that is
in memory of the rows to come.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from models.errors import MediaError
from models.media.decoding import Decoding
from models.sources.probing import ProbeRequest, ProbeResult, probe, probe_all
from models.sources.rows import InRow, InvalidRow, Medium, Row, name_of

# For one process at a time, since small pictures take longer to send alone than to decode.
REQUEST_BYTES = 256 << 10
LEAST_BYTES = 4 << 10  # that a medium counts as
FILE_BYTES = 16 << 10  # that one in a file of its own counts as
ROWS_PER_REQUEST = 256  # read ahead at most, where they name no new medium
Key = Medium | str
Named = dict[Key, Medium]
Numbered = tuple[int, Row | InvalidRow]


class Seen(NamedTuple):
    """A row of the shard `number` whose media were looked at: its media, and the bytes of those named first by it."""

    number: int
    row: Row | InvalidRow
    media: Named
    new: list[tuple[ProbeResult, bytes]]


class Lookahead:
    """What is known of each medium below `root` that rows have named, each looked at once, whatever came of it."""

    def __init__(self, decoders: Decoding, root: Path, max_media_bytes: int) -> None:
        self._decoders, self._root, self._max_media_bytes = decoders, root, max_media_bytes
        self._found: dict[Key, ProbeResult | MediaError | None] = {}  # none: asked for
        self._arrived: dict[Key, bytes] = {}  # of media that no row was given with yet

    def of(self, key: Key) -> ProbeResult:
        """What a medium of a row that was given turned out to be. Raises its `MediaError`."""
        found = self._found[key]
        if isinstance(found, MediaError):
            raise found
        assert found is not None
        return found

    def through(self, rows: Iterable[Numbered]) -> Iterator[Seen]:
        """Each row in its turn, as soon as all of its media were looked at."""
        ahead: deque[tuple[int, Row | InvalidRow, Named]] = deque()
        arriving = self._arriving(self._requests(rows, ahead))
        while ahead or next(arriving, None) is not None:
            while ahead:
                number, row, named = ahead.popleft()
                while any(self._found[key] is None for key in named):
                    next(arriving)
                yield Seen(number, row, named, [self._new(key, named[key]) for key in named if key in self._arrived])

    def _new(self, key: Key, medium: Medium) -> tuple[ProbeResult, bytes]:
        data = self._arrived.pop(key)
        return self.of(key), medium.data if isinstance(medium, InRow) else data

    def _requests(self, rows: Iterable[Numbered], ahead: deque[tuple[int, Row | InvalidRow, Named]]) -> Iterator[Named]:
        """The media that rows name first: images several at a time, each video alone. Notes the rows in `ahead`."""
        part: Named = {}
        read = size = 0
        for number, row in rows:
            named = {key_of(one): one for one in row.media()} if isinstance(row, Row) else {}
            for key, medium in named.items():
                if key in self._found:
                    continue
                self._found[key] = None
                own = _weight(medium, row)
                if part and size + own > REQUEST_BYTES:
                    yield part
                    part, read, size = {}, 0, 0
                part[key] = medium
                size += own
            ahead.append((number, row, named))  # now that all of its media are asked for
            read += 1
            if read >= ROWS_PER_REQUEST:
                yield part
                part, read, size = {}, 0, 0
        yield part

    def _arriving(self, requests: Iterator[Named]) -> Iterator[bool]:
        """Notes what the processes found, request by request. Of one that a codec ends, each medium is probed alone."""
        sent: deque[Named] = deque()

        def asked() -> Iterator[tuple[str, list[ProbeRequest]]]:
            for request in requests:
                sent.append(request)
                yield next(map(name_of, request.values()), ""), [self._request(one) for one in request.values()]

        for answer in self._decoders.map(probe_all, asked()):
            request = sent.popleft()
            results: Iterable[ProbeResult | MediaError]
            if isinstance(answer, MediaError):
                alone = ((name_of(one), self._request(one)) for one in request.values())
                results = self._decoders.map(probe, alone)
            else:
                results = answer
            for key, result in zip(request, results, strict=True):
                self._note(key, result)
            yield True

    def _note(self, key: Key, result: ProbeResult | MediaError) -> None:
        if isinstance(result, ProbeResult):
            self._arrived[key] = result.data
            result = replace(result, data=b"") if result.data else result
        self._found[key] = result

    def _request(self, medium: Medium) -> ProbeRequest:
        return ProbeRequest(medium, self._root, self._max_media_bytes)


def key_of(medium: Medium) -> Key:
    """What tells media of one data set apart, without their bytes."""
    return medium.name if isinstance(medium, InRow) else medium


def _weight(medium: Medium, row: Row | InvalidRow) -> int:
    """How much of a request a medium takes, in bytes: a video all of it, since it takes long to decode."""
    if isinstance(row, Row) and row.task.media_kind == "video":
        return REQUEST_BYTES
    return max(LEAST_BYTES, len(medium.data)) if isinstance(medium, InRow) else FILE_BYTES
