"""Media looked at ahead of their rows: how far ahead, in which order, and each of them once."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

import pytest

from models.errors import MediaError
from models.media.decoding import HERE
from models.pairs.preference import Task
from models.sources import lookahead
from models.sources.lookahead import Lookahead, Numbered
from models.sources.probing import ProbeRequest, ProbeResult
from models.sources.rows import InFile, InRow, InvalidRow, Medium, Row, name_of, suffix_of

T = TypeVar("T")
R = TypeVar("R")


class Window:
    """Applies functions here, three items behind what it takes, as a pool of one process does."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def map(self, function: Callable[[T], R], items: Iterable[tuple[str, T]]) -> Iterator[R | MediaError]:
        waiting: list[T] = []
        for _, item in items:
            waiting.append(item)
            if len(waiting) == 3:
                yield function(waiting.pop(0))
        yield from map(function, waiting)


def row(number: int, *media: Medium, task: Task = Task.IMAGE_GENERATION) -> Row:
    return Row(f"x#{number}", f"r{number}", task, "a prompt", (media[0], media[-1]), 1, context=media[1:-1])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the media of each request; nothing is decoded."""
    requests: list[list[str]] = []

    def told(several: list[ProbeRequest]) -> list[ProbeResult | MediaError]:
        requests.append([name_of(one.medium) for one in several])
        return [ProbeResult(name_of(one.medium), ".png", (), name_of(one.medium).encode()) for one in several]

    monkeypatch.setattr(lookahead, "probe_all", told)
    return requests


def small(name: str) -> InRow:
    return InRow(name, b"in the row")


def test_rows_are_read_a_few_requests_ahead_and_no_further(asked: list[list[str]]) -> None:
    read: list[int] = []

    def rows() -> Iterator[Numbered]:
        for number in range(10_000):
            read.append(number)
            yield 0, row(number, small(f"{number}/1"), small(f"{number}/2"))

    media = Lookahead(Window(), Path(), 1)
    furthest = 0
    for at, _ in enumerate(media.through(rows())):
        furthest = max(furthest, len(read) - at)
    images = lookahead.REQUEST_BYTES // lookahead.LEAST_BYTES
    assert images / 2 < furthest <= 4 * images / 2 + 1
    assert max(map(len, asked)) == images


def test_rows_that_name_no_new_medium_are_not_all_read_at_once() -> None:
    read: list[int] = []

    def rows() -> Iterator[Numbered]:
        for number in range(10_000):
            read.append(number)
            yield 0, InvalidRow(f"x#{number}", "", "row: empty")

    for at, _ in enumerate(Lookahead(Window(), Path(), 1).through(rows())):
        assert len(read) - at <= 4 * lookahead.ROWS_PER_REQUEST


def test_rows_come_in_their_order_each_with_the_media_that_it_names_first(asked: list[list[str]]) -> None:
    given: list[Numbered] = [
        (0, row(0, InFile("a"), InFile("b"))),
        (0, InvalidRow("x#1", "", "row: empty")),
        (0, row(2, InFile("b"), InFile("c"))),
        (1, row(3, InFile("c"), small("x#3/1"))),
        (1, row(4, InFile("a"), InFile("a"))),
    ]
    seen = list(Lookahead(HERE, Path(), 1).through(given))
    assert [(one.number, one.row) for one in seen] == given
    assert [[data for _, data in one.new] for one in seen] == [[b"a", b"b"], [], [b"c"], [b"in the row"], []]
    assert sorted(name for request in asked for name in request) == ["a", "b", "c", "x#3/1"]


def test_what_was_seen_in_one_part_of_the_rows_is_known_in_the_next(asked: list[list[str]]) -> None:
    media = Lookahead(HERE, Path(), 1)
    list(media.through([(0, row(0, InFile("a"), InFile("b")))]))
    (later,) = media.through([(5, row(1, InFile("b"), InFile("c")))])
    assert [result.sha256 for result, _ in later.new] == ["c"]
    assert media.of(InFile("b")).sha256 == "b"


def test_a_video_and_a_large_picture_are_requests_of_their_own(asked: list[list[str]]) -> None:
    large = InRow("large", bytes(lookahead.REQUEST_BYTES))
    rows: list[Numbered] = [
        (0, row(0, InFile("a"), InFile("b"))),
        (0, row(1, InFile("film"), InFile("other"), task=Task.VIDEO_GENERATION)),
        (0, row(2, large, InFile("c"))),
    ]
    list(Lookahead(HERE, Path(), 1).through(rows))
    assert asked == [["a", "b"], ["film"], ["other"], ["large"], ["c"]]


def test_a_suffix_is_what_pathlib_finds() -> None:
    names = [
        "a.png",
        "a",
        ".png",
        "a/.png",
        "a.tar.gz",
        "a.b/c",
        "a.b/",
        "a.b/.",
        "a..png",
        "..",
        ".",
        "",
        "a.",
        "a/..",
    ]
    assert {name: suffix_of(name) for name in names} == {name: PurePosixPath(name).suffix for name in names}
