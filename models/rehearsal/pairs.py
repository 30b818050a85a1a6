"""Made-up pairs of all four tasks whose prompts are as long as a profile allows, and completions of a given length."""

import hashlib
import io
from collections.abc import Sequence
from math import isqrt
from pathlib import Path
from typing import Any

from PIL import Image

from models.generation.limits import CHARACTERS_PER_TOKEN
from models.media.frames import pack_frames
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import Candidate, Media, PreferencePair, Preferred, Task
from models.verdict.instructions import instructions

CAPTION_TOKENS = 60
WORD = " red"
SIDE = 32  # pixels; sides are multiples of it, so that no patch is cut
LABELS: tuple[Preferred, ...] = (1, 2)


def write_pairs(
    folder: Path, tokenizer: Any, *, max_pixels: int, frames: int, stand_in: bool = False
) -> PreferenceDataset:
    """A dataset of two pairs a task: images of `max_pixels`, videos of `frames` such frames, texts of usual length.

    `stand_in`: the tokenizer is not the model's own: texts are then as long as a large model's.
    """
    blobs: dict[str, bytes] = {}
    pairs = [
        _pair(task, label, blobs, _caption(task, tokenizer, stand_in), max_pixels=max_pixels, frames=frames)
        for task in Task
        for label in LABELS
    ]
    write_dataset(folder, {"train": pairs}, blobs)
    return PreferenceDataset(folder, max_pixels=max_pixels, max_frames=frames)


def longest(media: PreferenceDataset, tasks: Sequence[Task], count: int) -> list[PreferencePair]:
    """`count` pairs of that one of `tasks` which shows most frames, under ids of their own."""

    def shown(task: Task) -> int:
        return sum(len(media.frames(one.uri)) for one in media.pairs("train", task)[0].media())

    found = media.pairs("train", max(tasks, key=shown))
    return [found[at % len(found)].model_copy(update={"id": f"pair-{at}"}) for at in range(count)]


def words(tokenizer: Any, tokens: int) -> str:
    """A text of about so many tokens."""
    ten = len(tokenizer.encode(WORD * 10, add_special_tokens=False))
    return (WORD * max(1, tokens * 10 // ten)).strip()


def _caption(task: Task, tokenizer: Any, stand_in: bool) -> str:
    """A caption; longer for a stand-in, which has the instructions as one token where a large model has hundreds."""
    if not stand_in:
        return words(tokenizer, CAPTION_TOKENS)
    asked = instructions(task, "think")
    short = len(asked) // CHARACTERS_PER_TOKEN - len(tokenizer.encode(asked, add_special_tokens=False))
    return words(tokenizer, CAPTION_TOKENS + max(0, short))


def _pair(
    task: Task, label: Preferred, blobs: dict[str, bytes], prompt: str, *, max_pixels: int, frames: int
) -> PreferencePair:
    def medium(number: int) -> Media:
        data = _encoded(task.media_kind == "video", number, max_pixels, frames)
        uri = f"{task}-{label}-{number}"
        blobs[uri] = data
        return Media(kind=task.media_kind, uri=uri, sha256=hashlib.sha256(data).hexdigest())

    shown = {"id": f"{task}-{label}", "task": task, "prompt": prompt, "preferred": label, "source": "rehearsal"}
    if task.judges_media:
        return PreferencePair(**shown, candidates=(Candidate(media=medium(1)), Candidate(media=medium(2))))
    texts = Candidate(text=prompt), Candidate(text=f"{prompt}.")
    return PreferencePair(**shown, context=(medium(1),), candidates=texts)


def _encoded(video: bool, number: int, max_pixels: int, frames: int) -> bytes:
    side = max(SIDE, isqrt(max_pixels) // SIDE * SIDE)
    pictures = []
    for at in range(frames if video else 1):
        stream = io.BytesIO()
        Image.new("RGB", (side, side), (200 // number, 20 * at % 256, 90)).save(stream, "PNG")
        pictures.append(stream.getvalue())
    return pack_frames((f"{at:03d}.png", data) for at, data in enumerate(pictures)) if video else pictures[0]
