"""Made-up pairs whose media are names: what connects pairs is all that matters here."""

import hashlib

from models.pairs.preference import Candidate, Media, PreferencePair, Split, Task
from models.splits.assign import Assigned


def medium(name: str) -> Media:
    return Media(kind="image", uri=f"{name}.png", sha256=sha256(name))


def sha256(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def generated(name: str, first: str, second: str, prompt: str = "") -> PreferencePair:
    """A pair of image_generation, with a caption of its own unless one is given."""
    candidates = (Candidate(media=medium(first)), Candidate(media=medium(second)))
    return PreferencePair(
        id=name,
        task=Task.IMAGE_GENERATION,
        prompt=prompt or f"caption of {name}",
        candidates=candidates,
        preferred=1,
        source="made",
    )


def asked(name: str, shown: str, prompt: str = "What is in the picture?") -> PreferencePair:
    """A pair of image_understanding about one picture."""
    candidates = (Candidate(text="a dog"), Candidate(text="a cat"))
    return PreferencePair(
        id=name,
        task=Task.IMAGE_UNDERSTANDING,
        prompt=prompt,
        context=(medium(shown),),
        candidates=candidates,
        preferred=1,
        source="made",
    )


def split_by_id(assigned: Assigned) -> dict[str, Split]:
    return {pair.id: split for split, pairs in assigned.splits.items() for pair in pairs}
