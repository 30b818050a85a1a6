"""Media that look the same, by the perceptual index of hygiene (`models.hygiene.near_index`)."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from models.hygiene.near_index import DistinctMedia, NearIndex
from models.splits.keys import Keys
from models.splits.ledger import Ledger

Confirm = Callable[[str, str], bool]


class _Hashed(NamedTuple):
    media: tuple[str, ...]
    hashes: tuple[tuple[int, ...], ...]


class Near:
    """Finds the media that look like one, among those of a ledger and of the pairs given.

    `within` is how many of the 64 bits may differ. `confirm` has the last word on two media (sha256) that the hashes
    take for the same; it is for worlds whose pictures differ in less than the hashes see.
    """

    def __init__(self, ledger: Ledger, pairs: Iterable[Keys], within: int, confirm: Confirm | None = None) -> None:
        known = [_Hashed((sha256,), (hashes,)) for sha256, hashes in ledger.hashes.items()]
        new = [_Hashed(keys.media, keys.hashes) for keys in pairs]
        self._media = DistinctMedia([*known, *new], within)
        numbers = self._media.numbers
        self._names = list(numbers)
        self._index = NearIndex(self._media, list(zip(numbers.values(), strict=True)), [0] * len(numbers))
        self._confirm = confirm
        self._found: dict[str, tuple[str, ...]] = {}

    def of(self, sha256: str) -> tuple[str, ...]:
        """The other media that look like this one; each is looked up once."""
        if sha256 not in self._found:
            self._found[sha256] = self._look_up(sha256)
        return self._found[sha256]

    def _look_up(self, sha256: str) -> tuple[str, ...]:
        number = self._media.numbers.get(sha256)
        if number is None:
            return ()
        found = [self._names[one] for one in self._index.near(number) if one != number]
        return tuple(one for one in found if self._confirm is None or self._confirm(sha256, one))
