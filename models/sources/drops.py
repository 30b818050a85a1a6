"""Pairs that people dropped into the inbox, added to what a source gave (tasks/inbox.py brings the drops here).

They join the training split alone: the validation and held-out splits stay what they were, so that models trained
before and after a drop are chosen and compared on the same pairs. A dropped pair that would show one of those splits,
of this version or of an earlier one, is left out (models/splits/keys.py says what connects pairs):

- one that shows a medium of it, whatever the task: the same bytes, or what looks the same, such as a re-encoded copy;
- one of a generation task with a caption of it.

Dropped pairs come before the source's own, since stages take the first so many pairs a task and what people have
just said must be among them. Drops take turns, one pair each, so that a large one hides no small one.
"""

import hashlib
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import cast

from models.dataset import Quarantined
from models.decoding import HERE, Decoding
from models.file_blobs import FileBlobs
from models.preference import Media, PreferencePair, Split
from models.sources.jsonl import Rows, read_rows
from models.splits.assign import NEAR, PROMPT, SAME, touched
from models.splits.keys import Hashes, content, keys_of
from models.splits.ledger import Ledger
from models.splits.near import Confirm, Near

PREFIX = "drop-"  # before the digits that name a drop
Splits = Mapping[Split, list[PreferencePair]]
Foreign = Callable[[PreferencePair], str]
_LEAKS = {
    SAME: "shows a medium of the {split} split",
    NEAR: "shows what looks like a medium of the {split} split",
    PROMPT: "has a caption of the {split} split",
}


@dataclass(frozen=True)
class Added:
    """The splits and media with the drops in them, what of the drops was left out, and each one's pairs by name.

    `hashes` are the perceptual hashes of the dropped media.
    """

    splits: dict[Split, list[PreferencePair]]
    blobs: Mapping[str, bytes]
    left_out: list[Quarantined]
    counts: dict[str, int]
    hashes: dict[str, tuple[int, ...]]


def add_drops(
    splits: Splits,
    blobs: Mapping[str, bytes],
    drops: Mapping[str, Path],
    *,
    max_frames: int,
    ledger: Ledger | None = None,
    hashes: Hashes | None = None,
    near_bits: int = 0,
    confirm: Callable[[Mapping[str, bytes]], Confirm] | None = None,
    decoding: Decoding = HERE,
    foreign: Foreign | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Added:
    """Add each drop's pairs to the training split; `drops` are folders by name, as tasks/inbox.py names them.

    `ledger` has the splits of earlier versions, `hashes` the perceptual hashes of the source's media, of which
    `near_bits` may differ in what looks the same; `confirm` makes the last word on that out of the dropped media by
    sha256 (models/splits/near.py). `foreign` says why a pair cannot stand among the source's, or nothing. Ids get the
    drop's name in front, media are named by their digest. Of equal pairs the source's own stays, else the one of the
    drop whose name comes first. The result does not depend on the order of `drops`.
    """
    known = Ledger() if ledger is None else ledger.copy()
    known.add(splits, hashes or {})
    read: dict[str, Rows] = {}
    for done, name in enumerate(sorted(drops), start=1):
        read[name] = read_rows(drops[name], max_frames=max_frames, decoding=decoding)
        if on_progress is not None:
            on_progress(done, len(drops))
    found = {sha256: own for rows in read.values() for sha256, own in rows.hashes.items()}
    keys = [keys_of(pair, found) for rows in read.values() for pair in rows.pairs]
    near = Near(known, keys, near_bits, confirm(_by_digest(read)) if confirm is not None else None)
    sieve = _Sieve(foreign, known, near, {content(pair) for pair in splits["train"]})
    media = FileBlobs({})
    left_out: list[Quarantined] = []
    kept: dict[str, list[PreferencePair]] = {}
    for name, rows in read.items():
        left_out += [Quarantined(_row(name, at, one.id), one.reason, one.uri, one.passing) for at, one in rows.left_out]
        kept[name] = _sifted(name, rows, sieve, media, left_out)
    in_turn = [pair for turn in zip_longest(*kept.values()) for pair in turn if pair is not None]
    train = [*in_turn, *splits["train"]]
    # Both may be on disk, and are not written to.
    both = ChainMap(cast("dict[str, bytes]", media), cast("dict[str, bytes]", blobs))
    together = cast("Mapping[str, bytes]", both)
    counts = {name: len(pairs) for name, pairs in kept.items()}
    return Added({**splits, "train": train}, together, left_out, counts, found)


def _by_digest(read: Mapping[str, Rows]) -> FileBlobs:
    return FileBlobs(
        {
            medium.sha256: rows.blobs.places[medium.uri]
            for rows in read.values()
            for pair in rows.pairs
            for medium in pair.media()
        }
    )


def _sifted(
    name: str, rows: Rows, sieve: "_Sieve", media: FileBlobs, left_out: list[Quarantined]
) -> list[PreferencePair]:
    kept = []
    for pair in rows.pairs:
        reason, uri = sieve.objection(pair, rows.hashes)
        if reason:
            left_out.append(Quarantined(_row(name, rows.lines[pair.id], pair.id), reason, uri))
            continue
        for one in pair.media():
            media.places[_own_uri(one)] = rows.blobs.places[one.uri]
        kept.append(_own(name, presented(pair)))
    return kept


def _row(drop: str, line: int, name: str) -> str:
    """A row of a drop as it is named to people."""
    return f"{drop}/line {line}" + ("" if name == f"line {line}" else f" ({name})")


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
    """What a dropped pair is held against: all that has a split, and every training pair so far."""

    foreign: Foreign | None
    ledger: Ledger
    near: Near
    seen: set[str] = field(default_factory=set)

    def objection(self, pair: PreferencePair, hashes: Hashes) -> tuple[str, str]:
        """Why the pair is left out and the medium at fault, or two empty texts; a pair without one is then known."""
        if self.foreign is not None and (reason := self.foreign(pair)):
            return reason, ""
        if leak := self._leak(pair, hashes):
            return leak
        known = content(pair)
        if known in self.seen:
            return "duplicate: the training split has this pair already", ""
        self.seen.add(known)
        return "", ""

    def _leak(self, pair: PreferencePair, hashes: Hashes) -> tuple[str, str] | None:
        found = touched(keys_of(pair, hashes), self.ledger, self.near)
        hows = [(how, split) for split in ("held_out", "validation") for how in found.get(split, ())]
        if not hows:
            return None
        how, split = min(hows, key=lambda one: (list(_LEAKS).index(one[0]), one[1]))
        said = _LEAKS[how].format(split=split.replace("_", "-"))
        return f"leak: {said}", self._at_fault(pair, split) if how != PROMPT else ""

    def _at_fault(self, pair: PreferencePair, split: str) -> str:
        """The first medium that the split shows, or that looks like one that it shows."""
        for medium in pair.media():
            if split in {self.ledger.media.get(one) for one in (medium.sha256, *self.near.of(medium.sha256))}:
                return medium.uri
        return ""
