"""Finding media that look the same among hundreds of thousands, without comparing each with each.

Hashes within `d` bits of each other agree in at least `m - d` of `m` bands of their bits (pigeonhole principle), so
only those that share a choice of `m - d` bands are compared; nothing within the distance is missed. The multi-index
hashing of Norouzi, Punjani and Fleet (arXiv 1307.2982), with sorted arrays in place of hash tables. A band takes every
m-th bit, so that it samples the whole picture: neighbouring bits are often equal in many pictures, such as those of a
plain sky.

With `m = d + 1` a key is one band, and the more media there are, the more share it by chance: comparisons grow as the
square. A larger `m` gives longer keys, and more of them to sort by. `masks` takes the `m` that costs least for the
number of media: 5 keys of 12 or 13 bits for 100 000 at a distance of 4, 15 of 20 to 22 bits for a million.

Those that share a key are compared with each other when the index is built, and only those that are close to another
in some frame are kept to be looked up. Measured on one core with random hashes and a distance of 4: 0.4 s for 200 000
media, each looked up (9.4 s before), 2.0 s for a million. Media that all look the same take the square of their number
to look up: 1.7 s for 3000.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from math import comb
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.hygiene.perceptual import BITS, least_bits

Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]
Words = NDArray[np.uint64]

MOST_KEYS = 64  # a hash is sorted by, at most
SORTING = 16  # comparisons take the time of sorting one hash by one key: 7 ns and 120 ns for a million hashes
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


class DistinctMedia:
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
    """Elements by key with their words; of each that has company, its place, and where those of its key begin and end.

    The latter by its number among all that have company.
    """

    elements: Ints
    words: Words
    place: Ints
    low: Ints
    high: Ints

    def close(self, place: int, within: int) -> Ints:
        """Those that share this element's key and whose words are within so many bits of its own."""
        shared = slice(self.low[place], self.high[place])
        elements: Ints = self.elements[shared]
        if not len(elements):  # it is not in this table, and has no place there
            return elements
        differing = np.bitwise_count(self.words[shared] ^ self.words[self.place[place]])
        close: Ints = elements[differing <= within]
        return close


class NearIndex:
    """Rows of media, of which those of one group are near each other if each medium is near the one in its place.

    `shown` has a row of numbers in `media` for each element, filled up with -1; `groups` a number for each.
    `compared` counts the comparisons of two hashes that building it took.
    """

    def __init__(self, media: DistinctMedia, shown: Sequence[Sequence[int]], groups: Sequence[int]) -> None:
        self._media = media
        width = max(map(len, shown), default=1)
        self._shown: Ints = np.full((width, len(shown)), -1, dtype=np.int32)
        for number, row in enumerate(shown):
            self._shown[: len(row), number] = row
        self._groups: Ints = np.array(groups, dtype=np.int32)
        self.compared = 0
        self._masks = masks(len(shown), media.within)
        # Most have no company and need no look; a medium that has some is company to it.
        self._company = self._with_company(self._shown[0])
        # Where those that have company are found in the tables, which have a row for each of them alone.
        self._places: Ints = np.cumsum(self._company, dtype=np.int32) - 1
        self._tables = list(self._of_company(self._shown[0]))

    def near(self, number: int) -> Ints:
        """The elements near this one, itself among them, by number."""
        if not self._company[number]:
            return np.array([number], dtype=np.int32)
        place = int(self._places[number])
        found = np.concatenate([table.close(place, self._media.within) for table in self._tables])
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

    def _with_company(self, first: Ints) -> Bools:
        """Whether another element of the group has the same first medium, or one with a hash that is close."""
        _, found = _distinct(first.astype(np.uint64), self._groups)
        for words, informative in zip(self._media.words, self._media.informative, strict=True):
            telling = np.flatnonzero(informative[first])
            own, groups = words[first[telling]], self._groups[telling]
            once, repeated = _distinct(own, groups)
            found[telling[repeated]] = True
            # Those that are equal have each other: one of them is compared with the rest.
            own, groups, telling = own[once], groups[once], telling[once]
            for mask in self._masks:
                found[telling[self._close(_keys(own & mask, groups), own)]] = True
        return found

    def _close(self, keys: Words, own: Words) -> Bools:
        """Whether another hash with the same key is within the distance: each with the next, the one after, and on."""
        by_key = np.argsort(keys)
        keys, own = keys[by_key], own[by_key]
        close = np.zeros(len(own), dtype=bool)
        left, step = np.arange(len(own)), 1
        while len(left := left[: np.searchsorted(left, len(own) - step)]):
            left = left[keys[left] == keys[left + step]]
            self.compared += len(left)
            met = left[np.bitwise_count(own[left] ^ own[left + step]) <= self._media.within]
            close[met] = close[met + step] = True
            step += 1
        found = np.zeros(len(own), dtype=bool)
        found[by_key] = close
        return found

    def _of_company(self, first: Ints) -> Iterator[_Table]:
        """The tables of those that have company, by the number of the first medium and by each key of each hash."""
        company = np.flatnonzero(self._company).astype(np.int32)
        own = first[company].astype(np.uint64)
        yield self._table(company, own, own)
        for words, informative in zip(self._media.words, self._media.informative, strict=True):
            telling = company[informative[first[company]]]
            own = words[first[telling]]
            for mask in self._masks:
                yield self._table(telling, own & mask, own)

    def _table(self, elements: Ints, values: Words, own: Words) -> _Table:
        """Elements by group and value; `own` are the whole words that the values are parts of."""
        keys = _keys(values, self._groups[elements])
        by_key = np.argsort(keys, kind="stable")
        keys_in_order = keys[by_key]
        places = self._places[elements]
        place, low, high = (np.zeros(self._company.sum(), dtype=np.int32) for _ in range(3))
        place[places[by_key]] = np.arange(len(elements))
        low[places] = np.searchsorted(keys_in_order, keys, side="left")
        high[places] = np.searchsorted(keys_in_order, keys, side="right")
        return _Table(elements[by_key], own[by_key], place, low, high)


def masks(count: int, within: int) -> list[np.uint64]:
    """The bits of a hash that make up each key, such that hashes within the distance agree in one key at least.

    Of the numbers of bands, the one whose keys take least to sort and compare so many hashes by, were they random.
    """
    choices = [bands for bands in range(within + 1, BITS) if comb(bands, within) <= MOST_KEYS]
    bands = min(choices, key=lambda one: _cost(one, count, within))
    return [
        np.uint64(sum(1 << bit for bit in range(BITS) if bit % bands in chosen))
        for chosen in combinations(range(bands), bands - within)
    ]


def _cost(bands: int, count: int, within: int) -> float:
    """Of sorting by every key and comparing those that share one, in comparisons."""
    bits = (bands - within) * (BITS // bands)
    sharing = count * count / float(1 << bits) / 2
    return comb(bands, within) * (SORTING * count + sharing)


def _keys(values: Words, groups: Ints) -> Words:
    """Mixed modulo 2^64: groups that fall together by chance are distinguished by `NearIndex.near`."""
    keys: Words = values + groups.astype(np.uint64) * np.uint64(_GOLDEN)
    return keys


def _distinct(values: Words, groups: Ints) -> tuple[Ints, Bools]:
    """The places of one of each value and group, and whether another place has the same value and group."""
    order = np.lexsort((values, groups))
    in_order, of_group = values[order], groups[order]
    as_before = np.zeros(len(order), dtype=bool)
    as_before[1:] = (in_order[1:] == in_order[:-1]) & (of_group[1:] == of_group[:-1])
    repeated = np.zeros(len(order), dtype=bool)
    repeated[order] = as_before | np.append(as_before[1:], False)[: len(order)]
    once: Ints = order[~as_before].astype(np.int32)
    return once, repeated
