"""What connects one pair to others: pairs that share any of it belong into one split.

- A medium, of whatever task: the same bytes, or bytes that look the same by their perceptual hash.
- Of the generation tasks, the caption: normalised (case, white space, punctuation at its ends), of images and videos
  alike. A model that has seen how one pair of a caption was judged knows what the caption asks for.

A question connects nothing by itself: thousands of pictures share `What is in the image?`. Two pairs of an
understanding task that ask the same question about the same medium are connected by the medium.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from models.hygiene.dedup_record import normalised_text, text_digest
from models.pairs.preference import PreferencePair, swapped_preference

Hashes = Mapping[str, tuple[int, ...]]  # the perceptual hashes of a medium's frames by its sha256


@dataclass(frozen=True, slots=True)
class Keys:
    """What connects one pair. `hashes` has the perceptual hashes of each medium, empty where it was not hashed."""

    identity: str
    media: tuple[str, ...]
    hashes: tuple[tuple[int, ...], ...]
    prompt: str


def keys_of(pair: PreferencePair, hashes: Hashes) -> Keys:
    """The keys of a pair; `prompt` is empty for an understanding task."""
    media = tuple(medium.sha256 for medium in pair.media())
    prompt = text_digest(normalised_text(pair.prompt)) if pair.task.judges_media else ""
    return Keys(text_digest(content(pair)), media, tuple(hashes.get(one, ()) for one in media), prompt)


def content(pair: PreferencePair) -> str:
    """What two rows that say the same have in common, whatever their ids, sources and presentation order."""
    first, second = (one.text if one.media is None else one.media.sha256 for one in pair.candidates)
    about = [pair.task, pair.prompt, [one.sha256 for one in pair.context]]
    # Not by `pair.swapped()`: an import asks for every row, and copying the pair takes longer than all of this.
    orders = ([first, second], pair.preferred), ([second, first], swapped_preference(pair.preferred))
    return min(json.dumps([*about, *one]) for one in orders)
