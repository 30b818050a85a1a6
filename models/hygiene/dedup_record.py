"""What hygiene knows of one pair: names and digests, no bytes, so that 100 000 of them fit into little memory."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

from models.errors import DataError
from models.pairs.preference import Preferred, Task


@dataclass(frozen=True, slots=True)
class DedupRecord:
    """One pair. `id` is unique within its `source`. Raises `DataError` if its parts do not fit together.

    `media` are the sha256 of what it shows, in the order shown: context, then candidates. `texts` are the candidates
    of an understanding task or digests of them, else empty. `hashes` are the perceptual hashes of each medium, one
    of 64 bits a sampled frame; an empty tuple for a medium that was not hashed, which is near itself alone.
    """

    id: str
    source: str
    task: Task
    prompt: str
    preferred: Preferred
    media: tuple[str, ...]
    texts: tuple[str, ...]
    hashes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if len(self.hashes) != len(self.media):
            raise DataError(
                f"{self.source}/{self.id} has {len(self.media)} media and hashes of {len(self.hashes)}: give each "
                "medium its own, or an empty tuple"
            )
        if not self.media:
            raise DataError(f"{self.source}/{self.id} shows no medium and must show one: remove it")
        if len(self.sides) != 2:
            raise DataError(
                f"{self.source}/{self.id} of {self.task} has {len(self.sides)} candidates and must have 2: give their "
                "sha256 as media for a generation task, their texts for an understanding task"
            )

    @property
    def name(self) -> tuple[str, str]:
        """Source and id: which pair it is, and the order that decides which of equal pairs stays."""
        return self.source, self.id

    @property
    def sides(self) -> tuple[str, ...]:
        """The two candidates: sha256 of media, or texts."""
        return self.media if self.task.judges_media else self.texts

    @property
    def context(self) -> tuple[str, ...]:
        """The sha256 of the media that both candidates are about."""
        return () if self.task.judges_media else self.media


def text_digest(text: str) -> str:
    """128 bits of BLAKE2b, as hex: two of 10^9 different texts share theirs with a chance of 10^-21."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def ordered(pairs: Iterable[DedupRecord]) -> list[DedupRecord]:
    """By source, then id: an order that the one in which they came has no part in.

    Raises `DataError` for two pairs of one name, of which no rule decides which stays.
    """
    found = sorted(pairs, key=lambda one: one.name)
    for one, following in pairwise(found):
        if one.name == following.name:
            raise DataError(f"source {one.source!r} has the id {one.id!r} twice: make ids unique within a source")
    return found


def normalised_text(prompt: str) -> str:
    r"""A prompt as it is compared: NFKC, casefolded, white space as single blanks, no punctuation at either end.

    A prompt of nothing but punctuation keeps it, or all such prompts would be the same.

    >>> normalised_text("  A\u00a0RED ball, bouncing!! ")
    'a red ball, bouncing'
    """
    # Casefolding may leave what NFKC composes again, hence twice (Unicode standard, section 3.13, definition D146).
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", prompt).casefold())
    words = " ".join(folded.split())
    first, end = 0, len(words)
    while first < end and _at_an_end(words[first]):
        first += 1
    while end > first and _at_an_end(words[end - 1]):
        end -= 1
    return words[first:end] or words


def _at_an_end(character: str) -> bool:
    return character == " " or unicodedata.category(character).startswith("P")
