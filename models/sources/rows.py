"""What a reader of a published data set gives: its rows, in the order of its files, none dropped in silence.

A reader is one function in a file of its own, `read(root) -> Iterator[Row | InvalidRow]`, that knows one published
layout. It reads listings and names media; whether a medium is there, stays below the root and can be decoded is for
`models/sources/importing.py` to find out, the same for all. The readers are named in `models/sources/registry.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.pairs.preference import Preferred, Task

TWICE = "row: its id is there twice"


@dataclass(frozen=True)
class InFile:
    """A medium in a file; `path` as the data set writes it, which should lie below its root."""

    path: str


@dataclass(frozen=True)
class InRow:
    """A medium whose bytes stand in the listing itself (Parquet, tar); `name` is unique in the data set."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Frames:
    """A video that is published as its frames, in files of their own; `paths` in the order in which they are shown."""

    paths: tuple[str, ...]


Medium = InFile | InRow | Frames


def name_of(medium: Medium) -> str:
    """What a medium is called in messages."""
    if isinstance(medium, InRow):
        return medium.name
    return medium.path if isinstance(medium, InFile) else medium.paths[0]


def suffix_of(path: str) -> str:
    """The suffix of a path with `/` between its parts, as pathlib has it, which takes ten times as long to find it.

    >>> suffix_of("a.b/c.tar.gz"), suffix_of("a.b/c"), suffix_of(".png"), suffix_of("a.png/.")
    ('.gz', '', '', '.png')
    """
    name = path.rpartition("/")[2]
    if name in ("", ".") or name[-1] == ".":  # pathlib passes over the first two, and changed its mind on the third
        return PurePosixPath(path).suffix
    at = name.rfind(".")
    return name[at:] if at > 0 else ""


@dataclass(frozen=True)
class Row:
    """One pair as published. `where` names its file and row, `data.json#12`, counted from 1.

    `candidates` are texts for understanding tasks, media for generation tasks. `reasoning` is a published verdict on
    the pair in this order, in our grammar, where the data set has one. `aspects` are further labels of the same pair by
    name, such as those of motion quality beside the overall one. `source` is who made the pair, where the row says so.
    """

    where: str
    id: str
    task: Task
    prompt: str
    candidates: tuple[str | Medium, str | Medium]
    preferred: Preferred
    context: tuple[Medium, ...] = ()
    group: str = ""
    reasoning: str = ""
    aspects: tuple[tuple[str, Preferred], ...] = ()
    source: str = ""

    def media(self) -> list[Medium]:
        """The media that it names, in the order in which they are shown."""
        return [*self.context, *(one for one in self.candidates if not isinstance(one, str))]


@dataclass(frozen=True)
class InvalidRow:
    """One row that gives no pair, and why; `id` is empty where the row has none that can be read.

    `reason` begins with a word or two that rows are counted by, then a colon: `row: prompt is missing`.
    """

    where: str
    id: str
    reason: str


Read = Callable[[Path], Iterator[Row | InvalidRow]]
