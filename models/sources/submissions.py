"""Pairs that people put into the inbox, added to what a source gave (tasks/data/inbox reads them).

They join the training split alone: the validation and held-out splits stay what they were, so that models trained
before and after a submission are chosen and compared on the same pairs. A submitted pair that would show one of those
splits, of this version or of an earlier one, is invalid (models/splits/keys.py has what connects pairs):

- one that shows a medium of it, whatever the task: the same bytes, or what looks the same, such as a re-encoded copy;
- one of a generation task with a caption of it.

A submitted pair that contradicts a label of the training split is invalid (models/sources/contradictions.py), and so is
one that repeats a training pair.

Submitted pairs come first as far as their contributor's share lets them (models/sources/shares.py), since stages take
the first so many pairs a task and the newest labels must be among them. Contributors, and the submissions of one
contributor, take turns, one pair each, so that a large submission hides no small one.
"""

import hashlib
from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import cast

from models.hygiene.conflicts import Rule
from models.media.decoding import HERE, Decoding
from models.pairs.dataset import InvalidPair
from models.pairs.file_blobs import FileBlobs
from models.pairs.preference import Media, PreferencePair, Split
from models.sources.contradictions import SubmittedPair, contradicting
from models.sources.jsonl import Rows, read_rows
from models.sources.shares import BEYOND, blended, contributor_of
from models.splits.assign import NEAR, PROMPT, SAME, touched
from models.splits.keys import Hashes, content, keys_of
from models.splits.ledger import Ledger
from models.splits.near import Confirm, Near

Splits = Mapping[Split, list[PreferencePair]]
Foreign = Callable[[PreferencePair], str]
_Place = tuple[str, int]  # of a row: its submission and its line
_LEAKS = {
    SAME: "shows a medium of the {split} split",
    NEAR: "shows what looks like a medium of the {split} split",
    PROMPT: "has a caption of the {split} split",
}


@dataclass(frozen=True)
class Added:
    """The splits and media with the submissions in them, which of their rows are invalid, and each one's pairs by name.

    `hashes` are the perceptual hashes of the submitted media.
    """

    splits: dict[Split, list[PreferencePair]]
    blobs: Mapping[str, bytes]
    invalid: list[InvalidPair]
    counts: dict[str, int]
    hashes: dict[str, tuple[int, ...]]


def add_submissions(
    splits: Splits,
    blobs: Mapping[str, bytes],
    submissions: Mapping[str, Path],
    *,
    max_frames: int,
    ledger: Ledger | None = None,
    hashes: Hashes | None = None,
    near_bits: int = 0,
    confirm: Callable[[Mapping[str, bytes]], Confirm] | None = None,
    decoding: Decoding = HERE,
    foreign: Foreign | None = None,
    conflicts: Rule = "drop",
    share: float = 1.0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Added:
    """Add each submission's pairs to the training split; `submissions` are folders by name, as in tasks/data/inbox.

    `ledger` has the splits of earlier versions, `hashes` the perceptual hashes of the source's media, of which
    `near_bits` may differ in what looks the same; `confirm` makes the last word on that out of the submitted media by
    sha256 (models/splits/near.py), and where it is given only equal bytes are contradictions. `foreign`
    returns why a pair cannot stand among the source's, or nothing. `conflicts` is the rule for pairs of several labels,
    `share` what one contributor may have of a task's training pairs. Ids get the submission's name in front, media are
    named by their digest. Of equal pairs the source's own stays, else the one of the submission whose name comes first.
    The result does not depend on the order of `submissions`.
    """
    known = Ledger() if ledger is None else ledger.copy()
    known.add(splits, hashes or {})
    read: dict[str, Rows] = {}
    for done, name in enumerate(sorted(submissions), start=1):
        read[name] = read_rows(submissions[name], max_frames=max_frames, decoding=decoding)
        if on_progress is not None:
            on_progress(done, len(submissions))
    found = {sha256: own for rows in read.values() for sha256, own in rows.hashes.items()}
    keys = [keys_of(pair, found) for rows in read.values() for pair in rows.pairs]
    near = Near(known, keys, near_bits, confirm(_by_digest(read)) if confirm is not None else None)
    candidates, objections = _filtered(read, _Filter(foreign, known, near))
    within = near_bits if confirm is None else None
    together = {**(hashes or {}), **found}
    reasons = contradicting(splits["train"], [one for _, one in candidates], together, conflicts, within)
    reasons |= _repeated(splits["train"], [one for _, one in candidates if one.name not in reasons])
    in_turn = [one for _, one in candidates if one.name not in reasons]
    train, beyond = blended(splits["train"], in_turn, share)
    reasons |= {one.name: BEYOND for one in beyond}
    objections += [(at, InvalidPair(one.name, reasons[one.name])) for at, one in candidates if one.name in reasons]
    kept = [one for one in train if isinstance(one, SubmittedPair)]
    media = FileBlobs(
        {_own_uri(one): read[_submission(it)].blobs.places[one.uri] for it in kept for one in it.pair.media()}
    )
    counts = dict.fromkeys(read, 0) | Counter(_submission(one) for one in kept)
    # Both may be on disk, and are not written to.
    both = ChainMap(cast("dict[str, bytes]", media), cast("dict[str, bytes]", blobs))
    blobs = cast("Mapping[str, bytes]", both)
    pairs = [
        _own(_submission(one), in_drawn_order(one.pair)) if isinstance(one, SubmittedPair) else one for one in train
    ]
    invalid = [one for _, one in sorted(objections, key=lambda one: one[0])]
    return Added({**splits, "train": pairs}, blobs, invalid, counts, found)


def _filtered(
    read: Mapping[str, Rows], by: "_Filter"
) -> tuple[list[tuple[_Place, SubmittedPair]], list[tuple[_Place, InvalidPair]]]:
    """The pairs that may join the training split by themselves, submissions in turn, and the rows that may not."""
    objections = [
        ((name, at), InvalidPair(_row(name, at, one.id), one.reason, one.uri, one.passing))
        for name, rows in read.items()
        for at, one in rows.invalid
    ]
    candidates: dict[str, list[tuple[_Place, SubmittedPair]]] = {}
    for name, rows in read.items():
        contributor, candidates[name] = contributor_of(name, rows.pairs), []
        for pair in rows.pairs:
            at = rows.lines[pair.id]
            row = _row(name, at, pair.id)
            reason, uri = by.objection(pair, rows.hashes)
            if reason:
                objections.append(((name, at), InvalidPair(row, reason, uri)))
            else:
                candidates[name].append(((name, at), SubmittedPair(row, contributor, pair)))
    turns = zip_longest(*candidates.values())
    return [one for turn in turns for one in turn if one is not None], objections


def _repeated(own: Iterable[PreferencePair], submitted: Iterable[SubmittedPair]) -> dict[str, str]:
    """Why a pair that is there already is invalid, by name; the one whose submission's name comes first stays."""
    seen = {content(pair) for pair in own}
    found = {}
    for one in sorted(submitted, key=_submission):
        if (known := content(one.pair)) in seen:
            found[one.name] = "duplicate: the training split has this pair already"
        seen.add(known)
    return found


def _by_digest(read: Mapping[str, Rows]) -> FileBlobs:
    return FileBlobs(
        {
            medium.sha256: rows.blobs.places[medium.uri]
            for rows in read.values()
            for pair in rows.pairs
            for medium in pair.media()
        }
    )


def _row(submission: str, line: int, name: str) -> str:
    """A row of a submission as it is named to people."""
    return f"{submission}/line {line}" + ("" if name == f"line {line}" else f" ({name})")


def _submission(one: SubmittedPair) -> str:
    """The name of the submission that a pair came in."""
    return one.name.partition("/")[0]


def in_drawn_order(pair: PreferencePair) -> PreferencePair:
    """The pair, its better candidate first or second by a digest of its content.

    People often write the better one first in every row, from which a judge would learn the position. By content,
    so that a pair is asked about in the same words whatever else is submitted later: answers paid for stay of use.
    """
    wanted = 1 + hashlib.sha256(content(pair).encode()).digest()[0] % 2
    return pair if pair.preferred in (wanted, "tie") else pair.swapped()


def _own_uri(media: Media) -> str:
    return f"drops/{media.sha256}{PurePosixPath(media.uri).suffix}"


def _own(name: str, pair: PreferencePair) -> PreferencePair:
    """The pair under names that no other submission and no source uses."""

    def renamed(media: Media) -> Media:
        return media.model_copy(update={"uri": _own_uri(media)})

    first, second = (
        one if one.media is None else one.model_copy(update={"media": renamed(one.media)}) for one in pair.candidates
    )
    context = tuple(renamed(one) for one in pair.context)
    return pair.model_copy(update={"id": f"{name}/{pair.id}", "context": context, "candidates": (first, second)})


@dataclass
class _Filter:
    """What a submitted pair is held against by itself: all that has a split."""

    foreign: Foreign | None
    ledger: Ledger
    near: Near

    def objection(self, pair: PreferencePair, hashes: Hashes) -> tuple[str, str]:
        """Why the pair is invalid and the medium at fault, or two empty texts."""
        if self.foreign is not None and (reason := self.foreign(pair)):
            return reason, ""
        return self._leak(pair, hashes)

    def _leak(self, pair: PreferencePair, hashes: Hashes) -> tuple[str, str]:
        found = touched(keys_of(pair, hashes), self.ledger, self.near)
        hows = [(how, split) for split in ("held_out", "validation") for how in found.get(split, ())]
        if not hows:
            return "", ""
        how, split = min(hows, key=lambda one: (list(_LEAKS).index(one[0]), one[1]))
        words = _LEAKS[how].format(split=split.replace("_", "-"))
        return f"leak: {words}", self._at_fault(pair, split) if how != PROMPT else ""

    def _at_fault(self, pair: PreferencePair, split: str) -> str:
        """The first medium that the split shows, or that looks like one that it shows."""
        for medium in pair.media():
            if split in {self.ledger.media.get(one) for one in (medium.sha256, *self.near.of(medium.sha256))}:
                return medium.uri
        return ""
