"""Pairs that people dropped into the inbox, added to what a source gave (tasks/inbox.py brings the drops here).

They join the training split alone: the held-out split stays what it was, so that models trained before and after
a drop are compared on the same pairs. A dropped pair that would show the held-out split is left out:

- one that shows a medium of the held-out split (the same bytes), whatever the task;
- one of a generation task with a caption of the held-out split, where the source itself keeps captions apart. The
  shapes do; in a source whose splits share captions a caption alone gives nothing away.

Dropped pairs come before the source's own, since stages take the first so many pairs a task and what people have
just said must be among them. Drops take turns, one pair each, so that a large one hides no small one.
"""

import hashlib
import json
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import cast

from models.dataset import Quarantined, Split
from models.decoding import HERE, Decoding
from models.preference import Media, PreferencePair
from models.sources.jsonl import Rows, read_rows

PREFIX = "drop-"  # before the digits that name a drop
Splits = Mapping[Split, list[PreferencePair]]
Foreign = Callable[[PreferencePair], str]


@dataclass(frozen=True)
class Added:
    """The splits and media with the drops in them, what of the drops was left out, and each one's pairs by name."""

    splits: dict[Split, list[PreferencePair]]
    blobs: Mapping[str, bytes]
    left_out: list[Quarantined]
    counts: dict[str, int]


def add_drops(
    splits: Splits,
    blobs: Mapping[str, bytes],
    drops: Mapping[str, Path],
    *,
    max_frames: int,
    decoding: Decoding = HERE,
    foreign: Foreign | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Added:
    """Add each drop's pairs to the training split; `drops` are folders by name, as tasks/inbox.py names them.

    `foreign` says why a pair cannot stand among the source's, or nothing. Ids get the drop's name in front, media are
    named by their digest. Of equal pairs the source's own stays, else the one of the drop whose name comes first. The
    result does not depend on the order of `drops`.
    """
    sieve = _Sieve.of(splits, foreign)
    media: dict[str, bytes] = {}
    left_out: list[Quarantined] = []
    kept: dict[str, list[PreferencePair]] = {}
    for done, name in enumerate(sorted(drops), start=1):
        rows = read_rows(drops[name], max_frames=max_frames, decoding=decoding)
        left_out += [Quarantined(_row(name, at, one.id), one.reason, one.uri) for at, one in rows.left_out]
        kept[name] = _sifted(name, rows, sieve, media, left_out)
        if on_progress is not None:
            on_progress(done, len(drops))
    in_turn = [pair for turn in zip_longest(*kept.values()) for pair in turn if pair is not None]
    train = [*in_turn, *splits["train"]]
    together = cast("Mapping[str, bytes]", ChainMap(media, cast("dict[str, bytes]", blobs)))  # which may be on disk
    return Added({**splits, "train": train}, together, left_out, {name: len(pairs) for name, pairs in kept.items()})


def _sifted(
    name: str, rows: Rows, sieve: "_Sieve", media: dict[str, bytes], left_out: list[Quarantined]
) -> list[PreferencePair]:
    kept = []
    for pair in rows.pairs:
        reason, uri = sieve.objection(pair)
        if reason:
            left_out.append(Quarantined(_row(name, rows.lines[pair.id], pair.id), reason, uri))
            continue
        for one in pair.media():
            media[_own_uri(one)] = rows.blobs[one.uri]
        kept.append(_own(name, presented(pair)))
    return kept


def _row(drop: str, line: int, name: str) -> str:
    """A row of a drop as it is named to people."""
    return f"{drop}/line {line}" + ("" if name == f"line {line}" else f" ({name})")


def content(pair: PreferencePair) -> str:
    """What two rows that say the same have in common, whatever their ids, sources and presentation order."""
    return min(_said(pair), _said(pair.swapped()))


def _said(pair: PreferencePair) -> str:
    shown = [one.text if one.media is None else one.media.sha256 for one in pair.candidates]
    return json.dumps([pair.task, pair.prompt, [one.sha256 for one in pair.context], shown, pair.preferred])


def presented(pair: PreferencePair) -> PreferencePair:
    """The pair, its better candidate first or second by a digest of its content.

    People often write the better one first in every row, from which a judge would learn the position. By content,
    so that a pair is asked about in the same words whatever else is dropped later: answers paid for stay of use.
    """
    wanted = 1 + hashlib.sha256(content(pair).encode()).digest()[0] % 2
    return pair if pair.preferred in (wanted, "tie") else pair.swapped()


def _own_uri(media: Media) -> str:
    return f"drops/{media.sha256}{PurePosixPath(media.uri).suffix}"


def _own(name: str, pair: PreferencePair) -> PreferencePair:
    """The pair under names that no other drop and no source uses."""

    def renamed(media: Media) -> Media:
        return media.model_copy(update={"uri": _own_uri(media)})

    first, second = (
        one if one.media is None else one.model_copy(update={"media": renamed(one.media)}) for one in pair.candidates
    )
    context = tuple(renamed(one) for one in pair.context)
    return pair.model_copy(update={"id": f"{name}/{pair.id}", "context": context, "candidates": (first, second)})


@dataclass
class _Sieve:
    """What a dropped pair is held against: the held-out split, and every training pair so far."""

    foreign: Foreign | None
    media: frozenset[str]
    captions: frozenset[tuple[str, str]]
    seen: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, splits: Splits, foreign: Foreign | None) -> "_Sieve":
        held_out = splits["held_out"]
        captions = _captions(held_out)
        return cls(
            foreign=foreign,
            media=frozenset(media.sha256 for pair in held_out for media in pair.media()),
            captions=captions if captions.isdisjoint(_captions(splits["train"])) else frozenset(),
            seen={content(pair) for pair in splits["train"]},
        )

    def objection(self, pair: PreferencePair) -> tuple[str, str]:
        """Why the pair is left out and the medium at fault, or two empty texts; a pair without one is then known."""
        if self.foreign is not None and (reason := self.foreign(pair)):
            return reason, ""
        for media in pair.media():
            if media.sha256 in self.media:
                return "leak: shows a medium of the held-out split", media.uri
        if not self.captions.isdisjoint(_captions([pair])):
            return "leak: has a caption of the held-out split", ""
        known = content(pair)
        if known in self.seen:
            return "duplicate: the training split has this pair already", ""
        self.seen.add(known)
        return "", ""


def _captions(pairs: Iterable[PreferencePair]) -> frozenset[tuple[str, str]]:
    """The captions by kind of medium; a question is none, since many scenes share it."""
    return frozenset((pair.task, " ".join(pair.prompt.casefold().split())) for pair in pairs if pair.task.judges_media)
