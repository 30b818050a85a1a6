"""Finding media that look the same among hundreds of thousands, without comparing each with each.

Hashes within `d` bits of each other agree in at least one of `d + 1` bands of their bits (pigeonhole principle), so
only those that share a band are compared; nothing within the distance is missed. The multi-index hashing of Norouzi,
Punjani and Fleet (arXiv 1307.2982), with sorted arrays in place of hash tables. A band takes every (d+1)-th bit, so
that it samples the whole picture: neighbouring bits are often equal in many pictures, such as those of a plain sky.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.hygiene.perceptual import BITS, least_bits

Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]
Words = NDArray[np.uint64]

MOST_BITS = 16  # beyond, a band is too short to part anything, and different pictures match
_GOLDEN = 0x9E3779B97F4A7C15  # odd, so that groups are spread over all 64 bits (Knuth, TAOCP 3, section 6.4)


class Hashed(Protocol):
    """Something that shows media: their sha256, and the perceptual hashes of each."""

    @property
    def media(self) -> tuple[str, ...]:
        """The sha256 of what is shown, in order."""
        ...

    @property
    def hashes(self) -> tuple[tuple[int, ...], ...]:
        """The perceptual hashes of each medium in its place."""
        ...


class Media:
    """Distinct media by number, and whether two of them look the same (`models.hygiene.perceptual.near`)."""

    def __init__(self, pairs: Iterable[Hashed], within: int) -> None:
        if not 0 <= within <= MOST_BITS:
            raise ConfigError(f"near means within {within} bits, and must mean 0 to {MOST_BITS}: 4 suits most sets")
        hashes: dict[str, tuple[int, ...]] = {}
        for pair in pairs:
            for sha256, own in zip(pair.media, pair.hashes, strict=True):
                # The longest of them, where a set was not hashed.
                hashes[sha256] = max(hashes.get(sha256, ()), own)
        self.within = within
        self.numbers = {sha256: number for number, sha256 in enumerate(hashes)}
        self._lengths = np.array([len(own) for own in hashes.values()], dtype=np.int8)
        frames = max(map(len, hashes.values()), default=0)
        self.words: Words = np.zeros((frames, len(hashes)), dtype=np.uint64)
        for number, own in enumerate(hashes.values()):
            self.words[: len(own), number] = own
        ones, least = np.bitwise_count(self.words), least_bits(within)
        self.informative: Bools = (ones >= least) & (ones <= BITS - least)

    def near(self, one: int, others: Ints) -> Bools:
        """Which of the other media look like this one; the same medium always does."""
        close = self._lengths[others] == self._lengths[one]
        telling = np.zeros(len(others), dtype=bool)
        for words, informative in zip(self.words, self.informative, strict=True):
            close &= np.bitwise_count(words[others] ^ words[one]) <= self.within
            telling |= informative[others] & informative[one]
        found: Bools = (close & telling) | (others == one)
        return found


class _Table(NamedTuple):
    """Elements by key with their words; of each, its place, and where those that share its key begin and end."""

    elements: Ints
    words: Words
    place: Ints
    low: Ints
    high: Ints

    def close(self, number: int, within: int) -> Ints:
        """Those that share this element's key and whose words are within so many bits of its own."""
        shared = slice(self.low[number], self.high[number])
        elements: Ints = self.elements[shared]
        if not len(elements):  # it is not in this table, and has no place there
            return elements
        differing = np.bitwise_count(self.words[shared] ^ self.words[self.place[number]])
        close: Ints = elements[differing <= within]
        return close


class NearIndex:
    """Rows of media, of which those of one group are near each other if each medium is near the one in its place.

    `shown` has a row of numbers in `media` for each element, filled up with -1; `groups` a number for each.
    """

    def __init__(self, media: Media, shown: Sequence[Sequence[int]], groups: Sequence[int]) -> None:
        self._media = media
        width = max(map(len, shown), default=1)
        self._shown: Ints = np.full((width, len(shown)), -1, dtype=np.int32)
        for number, row in enumerate(shown):
            self._shown[: len(row), number] = row
        self._groups: Ints = np.array(groups, dtype=np.int32)
        everyone = np.arange(len(shown), dtype=np.int32)
        first = self._shown[0]
        own = first.astype(np.uint64)
        self._tables = [self._table(everyone, own, own)]
        for words, informative in zip(media.words, media.informative, strict=True):
            telling = everyone[informative[first]]
            own = words[first[telling]]
            self._tables += [self._table(telling, band, own) for band in _bands(own, media.within)]
        # Most share no band with any other, and need no look.
        self._company: Bools = np.zeros(len(shown), dtype=bool)
        for table in self._tables:
            self._company |= table.high - table.low > 1

    def near(self, number: int) -> Ints:
        """The elements near this one, itself among them, by number."""
        if not self._company[number]:
            return np.array([number], dtype=np.int32)
        found = np.concatenate([table.close(number, self._media.within) for table in self._tables])
        found = found[self._groups[found] == self._groups[number]]
        for places in self._shown:
            one = int(places[number])
            if one < 0:
                found = found[places[found] < 0]
            else:
                # -1 reads the last medium, which a row without a medium in this place is not near.
                others = places[found]
                found = found[self._media.near(one, others) & (others >= 0)]
        return np.unique(found)

    def _table(self, elements: Ints, values: Words, own: Words) -> "_Table":
        """Elements by group and value; `own` are the whole words that the values are bands of."""
        # Mixed modulo 2^64: groups that fall together by chance are told apart by `near`.
        keys = values + self._groups[elements].astype(np.uint64) * np.uint64(_GOLDEN)
        by_key = np.argsort(keys, kind="stable")
        keys_in_order = keys[by_key]
        place, low, high = (np.zeros(len(self._groups), dtype=np.int32) for _ in range(3))
        place[elements[by_key]] = np.arange(len(elements))
        low[elements] = np.searchsorted(keys_in_order, keys, side="left")
        high[elements] = np.searchsorted(keys_in_order, keys, side="right")
        return _Table(elements[by_key], own[by_key], place, low, high)


def _bands(words: Words, within: int) -> Iterator[Words]:
    count = within + 1
    for band in range(count):
        value = np.zeros_like(words)
        for place, bit in enumerate(range(band, BITS, count)):
            value |= ((words >> np.uint64(bit)) & np.uint64(1)) << np.uint64(place)
        yield value
