"""The preference pairs that the workbench shows, opened once for many requests."""

import base64
from functools import lru_cache
from random import Random
from typing import Any

from configs.schema import Settings
from models.errors import ConfigError
from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import PreferencePair, Task
from models.shapes.pairs import make_pair
from tasks.store.artifacts import ArtifactRef, Store

EXAMPLES = 1000
DECODED_BYTES = 64 * 2**20  # a page or two


def newest_preferences(store: Store) -> ArtifactRef:
    """The newest result of prepare. Raises `ConfigError` while there is none."""
    entry = store.newest("prepare")
    if entry is None:
        raise ConfigError("there are no pairs yet: thinkreward run prepares them")
    return entry.outputs["preferences"]


def open_dataset(settings: Settings, store: Store, ref: ArtifactRef) -> PreferenceDataset:
    """The pairs and media of a preferences artifact, whose bytes are verified when it is first opened.

    Raises `StoreError`.
    """
    return _dataset(store, ref, settings.model.max_pixels, settings.model.max_frames)


@lru_cache(maxsize=2)
def _dataset(store: Store, ref: ArtifactRef, max_pixels: int, max_frames: int) -> PreferenceDataset:
    return PreferenceDataset(store.fetch(ref), max_pixels=max_pixels, max_frames=max_frames, kept_bytes=DECODED_BYTES)


@lru_cache(maxsize=2)
def training_pairs(dataset: PreferenceDataset) -> dict[str, PreferencePair]:
    """The training pairs by id."""
    return {pair.id: pair for pair in dataset.pairs("train")}


def example(settings: Settings, store: Store, task: Task, number: int) -> dict[str, Any]:
    """A pair to try a judge with, without its label, as a comparison's request has it.

    It is of the store's training pairs, or of the embedded world while there are none.
    """
    try:
        dataset = open_dataset(settings, store, newest_preferences(store))
        pair = Random(number).choice([pair for pair in training_pairs(dataset).values() if pair.task == task])
        blobs = {media.uri: dataset.blob(media.uri) for media in pair.media()}
    except (ConfigError, IndexError):
        made = make_pair(task, number % EXAMPLES, seed=1, held_out=True)
        pair, blobs = made.pair, made.blobs
    row: dict[str, Any] = {"task": str(task), "prompt": pair.prompt}
    for at, one in enumerate(pair.candidates, 1):
        row[f"candidate_{at}"] = _url(blobs[one.media.uri]) if one.media else one.text
    if pair.context:
        row["media"] = _url(blobs[pair.context[0].uri])
    return row


def _url(data: bytes) -> str:
    kind = next((mime for start, mime in MIME.items() if data.startswith(start)), "video/mp4")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# What browsers show in an <img>; all else that a dataset holds is a video.
MIME = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
