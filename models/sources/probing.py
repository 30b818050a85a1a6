"""Looking at one medium of a data set: whether it can be read and decoded, its digest and its perceptual hashes.

Runs in the processes of models/media/decoding.py, so it imports little, and nothing of torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from models.errors import MediaError
from models.hygiene.perceptual import perceptual_hash
from models.media.frames import decode, pack_frames
from models.sources.places import read
from models.sources.rows import Frames, InFile, InRow, Medium, suffix_of

HASHED_FRAMES = 3
_FRAMES_SUFFIX = ".frames.zip"


@dataclass(frozen=True)
class ProbeRequest:
    """A medium to look at, and where its data set lies."""

    medium: Medium
    root: Path
    max_bytes: int


@dataclass(frozen=True)
class ProbeResult:
    """What a medium turned out to be. `suffix` is of its name, `hashes` are of its first, middle and last frame.

    `data` are its bytes; empty for those of a listing (`InRow`), which the one who asks holds already.
    """

    sha256: str
    suffix: str
    hashes: tuple[int, ...]
    data: bytes


def probe_all(several: Sequence[ProbeRequest]) -> list[ProbeResult | MediaError]:
    """Each medium as `probe` sees it, or its `MediaError`: one errand of a process for many."""
    found: list[ProbeResult | MediaError] = []
    for seen in several:
        try:
            found.append(probe(seen))
        except MediaError as error:
            found.append(error)
    return found


def probe(seen: ProbeRequest) -> ProbeResult:
    """Read and decode one medium. Raises `MediaError`."""
    medium = seen.medium
    if isinstance(medium, Frames):
        data, name = _bundled(seen), medium.paths[0] + _FRAMES_SUFFIX
    elif isinstance(medium, InFile):
        data, name = read(seen.root, medium.path, seen.max_bytes), medium.path
    else:
        data, name = medium.data, medium.name
    frames = decode(data, name, max_frames=HASHED_FRAMES)
    suffix = _FRAMES_SUFFIX if isinstance(medium, Frames) else suffix_of(name).lower()
    known = b"" if isinstance(medium, InRow) else data
    return ProbeResult(sha256(data).hexdigest(), suffix, perceptual_hash(frames), known)


def _bundled(seen: ProbeRequest) -> bytes:
    """A video's frames as one file: an uncompressed zip, which `models.media.frames.decode` reads."""
    assert isinstance(seen.medium, Frames)
    return pack_frames(
        (f"{number:06d}{suffix_of(path).lower()}", read(seen.root, path, seen.max_bytes))
        for number, path in enumerate(seen.medium.paths)
    )
