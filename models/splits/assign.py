"""Which split a pair belongs to: the one that it is connected to, or by the digest of its group where it is new.

Pairs are connected by what models/splits/keys.py names, directly or through others: a group. What an earlier
version held stays where the ledger has it. A group of new pairs that is connected to one split joins that split. A new
pair that would connect two splits is left out. Which ones those are is decided from the earlier pairs outwards, in the
order of the pairs' digests within each step, so that the order of sources, files and rows plays no part.

Time grows as n log n with the number of pairs, apart from pictures that look alike in large numbers. Measured on one
core: 7 s and 160 MiB beside the pairs themselves for 100 000 pairs with 200 000 media, 14 s and 320 MiB for twice that.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from models.pairs.dataset import InvalidPair
from models.pairs.preference import SPLITS, PreferencePair, Split
from models.splits.keys import Hashes, Keys, keys_of
from models.splits.ledger import Ledger
from models.splits.near import Near

STEPS = 10_000  # of the digest of a group: shares are exact to a hundredth of a percent
SAME, NEAR, PROMPT = "same medium", "near medium", "same prompt"
_HOWS = (SAME, NEAR, PROMPT)
LEAST_GROUPS = 3  # one for each split
Touched = dict[Split, set[str]]


@dataclass(frozen=True)
class Shares:
    """Shares of the groups, 0 to 1, that are held out and that validate; the others train."""

    held_out: float
    validation: float

    def of(self, smallest: str) -> Split:
        """The split of a group, by the smallest sha256 of its media."""
        step = _step(smallest)
        if step < self.held_out * STEPS:
            return "held_out"
        return "validation" if step < (self.held_out + self.validation) * STEPS else "train"


@dataclass(frozen=True)
class Assigned:
    """The pairs of each split in the order given, and those left out, with reasons that begin with `connects`."""

    splits: dict[Split, list[PreferencePair]]
    invalid: list[InvalidPair]


def assign(
    pairs: Sequence[PreferencePair], hashes: Hashes, ledger: Ledger, shares: Shares, *, near_bits: int
) -> Assigned:
    """Give each pair its split; the ledger is left as it is. Media without hashes are near themselves alone."""
    keys = [keys_of(pair, hashes) for pair in pairs]
    work = _Assignment(keys, ledger, Near(ledger, keys, near_bits))
    work.settle()
    work.spread()
    work.share_out(shares)
    found: dict[Split, list[PreferencePair]] = {split: [] for split in SPLITS}
    invalid = []
    for pair, split, reason in zip(pairs, work.split_of, work.reason_of, strict=True):
        if split is None:
            invalid.append(InvalidPair(pair.id, reason))
        else:
            found[split].append(pair)
    return Assigned(found, invalid)


def touched(keys: Keys, ledger: Ledger, near: Near | None = None) -> Touched:
    """The splits that a pair is connected to, and by what; an earlier pair is connected to its own alone."""
    if (own := ledger.pairs.get(keys.identity)) is not None:
        return {own: {SAME}}
    found: Touched = {}
    for sha256 in keys.media:
        if (split := ledger.media.get(sha256)) is not None:
            found.setdefault(split, set()).add(SAME)
        for alike in near.of(sha256) if near is not None else ():
            if (split := ledger.media.get(alike)) is not None:
                found.setdefault(split, set()).add(NEAR)
    if keys.prompt and (split := ledger.prompts.get(keys.prompt)) is not None:
        found.setdefault(split, set()).add(PROMPT)
    return found


def connecting(found: Mapping[Split, Iterable[str]]) -> str:
    """Why a pair that is connected to several splits is left out.

    >>> connecting({"held_out": {"near medium"}, "train": {"same prompt", "near medium"}})
    'connects train and held_out: near medium, same prompt'
    """
    hows = {how for of_split in found.values() for how in of_split}
    names = " and ".join(split for split in SPLITS if split in found)
    return f"connects {names}: {', '.join(how for how in _HOWS if how in hows)}"


def _step(sha256: str) -> int:
    return int(sha256[:8], 16) % STEPS


class _Assignment:
    """The splits of pairs by number; `None` with a reason for one that is left out, without one while undecided."""

    def __init__(self, keys: Sequence[Keys], ledger: Ledger, near: Near) -> None:
        self._keys = keys
        self._ledger = ledger.copy()
        self._near = near
        self.split_of: list[Split | None] = [None] * len(keys)
        self.reason_of = [""] * len(keys)
        self._order = sorted(range(len(keys)), key=lambda number: keys[number].identity)
        self._showing: dict[str, list[int]] = {}
        for number in self._order:
            for key in _names(keys[number]):
                self._showing.setdefault(key, []).append(number)
        self._spread_from: set[str] = set()

    def settle(self) -> None:
        """Pairs that an earlier version held stay where they are."""
        for number in self._order:
            if (own := self._ledger.pairs.get(self._keys[number].identity)) is not None:
                self._give(number, own)

    def spread(self) -> None:
        """New pairs that are connected to what is settled, directly first, then through each other."""
        touching = [number for number in self._order if self._is_open(number) and self._touched(number)]
        waiting = deque(touching)
        while waiting:
            following: set[int] = set()
            for number in sorted(waiting, key=lambda one: self._keys[one].identity):
                if not self._is_open(number):
                    continue
                found = self._touched(number)
                if len(found) > 1:
                    self.reason_of[number] = connecting(found)
                    continue
                self._give(number, next(iter(found)))
                following.update(self._neighbours(number))
            waiting = deque(number for number in following if self._is_open(number))

    def share_out(self, shares: Shares) -> None:
        """Groups that are connected to nothing settled, by the smallest sha256 among their media."""
        groups: dict[str, list[int]] = {}
        for number in self._order:
            if self._is_open(number):
                group = self._group(number)
                smallest = min(sha256 for one in group for sha256 in self._keys[one].media)
                groups[smallest] = group
        given = {smallest: shares.of(smallest) for smallest in groups}
        if "validation" not in {*given.values(), *self.split_of} and len(groups) >= LEAST_GROUPS and shares.validation:
            # A small set may have none by chance: the next group in line, then.
            in_line = [smallest for smallest in groups if given[smallest] == "train"]
            if len(in_line) > 1:
                given[min(in_line, key=lambda one: (_step(one), one))] = "validation"
        for smallest, group in groups.items():
            for number in group:
                self._give(number, given[smallest])

    def _is_open(self, number: int) -> bool:
        return self.split_of[number] is None and not self.reason_of[number]

    def _touched(self, number: int) -> Touched:
        return touched(self._keys[number], self._ledger, self._near)

    def _give(self, number: int, split: Split) -> None:
        self.split_of[number], self.reason_of[number] = split, ""
        self._ledger.enter(self._keys[number], split)

    def _neighbours(self, number: int) -> list[int]:
        """Pairs that share a key with this one, each key looked up once."""
        found: list[int] = []
        for key in _names(self._keys[number]):
            if key in self._spread_from:
                continue
            self._spread_from.add(key)
            found += self._showing[key]
            if not key.startswith(_PROMPT):
                for alike in self._near.of(key):
                    found += self._showing.get(alike, ())
        return found

    def _group(self, number: int) -> list[int]:
        """The undecided pairs that are connected to this one; each group is found once."""
        group, waiting, seen = [], [number], {number}
        while waiting:
            one = waiting.pop()
            group.append(one)
            for other in self._neighbours(one):
                if other not in seen and self._is_open(other):
                    seen.add(other)
                    waiting.append(other)
        for one in group:
            self.reason_of[one] = _GROUPED
        return group


_PROMPT = "prompt "
_GROUPED = "in a group"  # decided in a moment


def _names(keys: Keys) -> list[str]:
    return [*keys.media, f"{_PROMPT}{keys.prompt}"] if keys.prompt else [*keys.media]
