"""Source `jsonl`: your own pairs. A folder with `pairs.jsonl`, one pair a line, and the media it names.

    {"id": "a1", "task": "image_generation", "prompt": "a red kite", "preferred": 1,
     "candidates": [{"media": "kite-1.png"}, {"media": "kite-2.png"}]}
    {"id": "b7", "task": "image_understanding", "prompt": "What flies here?", "preferred": 2,
     "context": ["kite-1.png"], "candidates": [{"text": "a dog"}, {"text": "a kite"}]}

A line that cannot be read, and a pair whose medium is missing or cannot be decoded, is quarantined with
its reason; the others go on. Pairs that share a medium stay in one split.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.dataset import Quarantined, Split
from models.errors import DataError, MediaError
from models.media import decode
from models.preference import PreferencePair, Task

SPLIT_STEPS = 10_000


def read_jsonl(
    folder: Path, *, held_out_share: float, max_frames: int, on_progress: Callable[[int, int], None] | None = None
) -> tuple[dict[Split, list[PreferencePair]], dict[str, bytes], list[Quarantined]]:
    """Both splits, the media by uri, and what was left out. Raises `DataError` without a `pairs.jsonl`."""
    listing = folder / "pairs.jsonl"
    if not listing.is_file():
        raise DataError(f"{listing} does not exist: put one JSON object a line there (README, 'Your own pairs')")
    lines = [line for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    splits: dict[Split, list[PreferencePair]] = {"train": [], "held_out": []}
    blobs: dict[str, bytes] = {}
    quarantined: list[Quarantined] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        try:
            pair = _read_pair(line, folder, blobs, max_frames)
            if pair.id in seen:
                raise DataError(f"the id {pair.id!r} is there twice")
            seen.add(pair.id)
            splits[_split_of(pair, held_out_share)].append(pair)
        except MediaError as error:
            quarantined.append(Quarantined(_name(line, number), "media", error.uri))
        except (DataError, ValidationError, ValueError, KeyError, TypeError) as error:
            quarantined.append(Quarantined(_name(line, number), f"row: {type(error).__name__}", str(error).split("\n")[0]))
        if on_progress is not None:
            on_progress(number, len(lines))
    return splits, blobs, quarantined


def _read_pair(line: str, folder: Path, blobs: dict[str, bytes], max_frames: int) -> PreferencePair:
    row: dict[str, Any] = json.loads(line)
    kind = Task(row["task"]).media_kind

    def medium(name: str) -> dict[str, str]:
        if name not in blobs:
            blobs[name] = _read_medium(folder, name, max_frames)
        return {"kind": kind, "uri": name, "sha256": hashlib.sha256(blobs[name]).hexdigest()}

    row["context"] = [medium(name) for name in row.get("context", ())]
    row["candidates"] = [{**c, "media": medium(c["media"])} if c.get("media") else c for c in row["candidates"]]
    row.setdefault("source", "jsonl")
    return PreferencePair.model_validate(row)


def _read_medium(folder: Path, name: str, max_frames: int) -> bytes:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise MediaError(name, "lies outside the data folder")
    if not path.is_file():
        raise MediaError(name, "does not exist")
    data = path.read_bytes()
    decode(data, name, max_frames=max_frames)
    return data


def _name(line: str, number: int) -> str:
    try:
        return str(json.loads(line)["id"])
    except (ValueError, KeyError, TypeError):
        return f"line {number}"


def _split_of(pair: PreferencePair, share: float) -> Split:
    """By the digest of the pair's first medium, so that the order of lines does not matter."""
    digests: Sequence[str] = sorted(media.sha256 for media in pair.media())
    step = int(digests[0][:8], 16) % SPLIT_STEPS
    return "held_out" if step < share * SPLIT_STEPS else "train"
