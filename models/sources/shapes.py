"""Source `shapes`: pairs of the embedded world (`models.shapes`), made on the spot. Licence: this repository's."""

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from models.media.frames import decode
from models.pairs.dataset import InvalidPair
from models.pairs.preference import PreferencePair, Split, Task
from models.shapes.pairs import MadePair, make_pair, number_at
from models.shapes.questions import parse_question
from models.shapes.world import parse_caption
from models.splits.assign import connecting, touched
from models.splits.keys import keys_of
from models.splits.ledger import Ledger
from models.splits.near import Confirm

TRIES = 50  # numbers tried for one validation pair; easy scenes are few, and training has most of them
STRIDE = 1_440_000  # between those numbers; twice a multiple of the kinds of each task, so that kind and order stay
# The largest difference of 16 x 16 colours, of 255, up to which two pictures are the same: measured on 750 pictures, at
# most 48 to their copies as JPEG of quality 75 and three quarters the size, at least 95 between those of near hashes.
SAME_LOOK = 70.0


def read_shapes(
    *,
    train_pairs: int,
    held_out_pairs: int,
    seed: int,
    validation_pairs: int = 0,
    ledger: Ledger | None = None,
    invalid: list[InvalidPair] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[Split, list[PreferencePair]], dict[str, bytes]]:
    """Pairs a task for each split, and their media by uri; without `validation_pairs` there is no such split.

    Kinds of flaw and of question take turns (`number_at`), so that all those of a task have equal shares in each split
    if their number divides the pairs asked for: 8, 5, 9 and 6 kinds, which 360 is the least to be a multiple of.

    Training and held-out pairs share no scene that a prompt is about, and so no caption; a flawed candidate may happen
    to show a scene of the other split. Validation pairs are of the scenes that training is drawn from, by a seed of
    their own, and of captions that no training pair has; where none is found in some tries there is one pair less.

    A pair that the `ledger` connects to another split than its own is added to `invalid` instead.
    """
    known = Ledger() if ledger is None else ledger.copy()
    splits: dict[Split, list[PreferencePair]] = {"train": [], "held_out": []}
    blobs: dict[str, bytes] = {}
    progress = _Progress(len(Task) * (train_pairs + validation_pairs + held_out_pairs), on_progress)
    wanted: tuple[tuple[Split, int], ...] = (("train", train_pairs), ("held_out", held_out_pairs))
    for split, count in wanted:
        for task in Task:
            for number in (number_at(task, place) for place in range(count)):
                made = make_pair(task, number, seed=seed, held_out=split == "held_out")
                reason = _objection(made.pair, split, known)
                if not reason:
                    splits[split].append(made.pair)
                    blobs.update(made.blobs)
                elif invalid is not None:
                    invalid.append(InvalidPair(made.pair.id, reason))
                progress.step()
    if validation_pairs:
        known.add(splits, {})
        splits["validation"] = []
        for task in Task:
            for number in (number_at(task, place) for place in range(validation_pairs)):
                new = _unconnected(task, number, seed, known)
                if new is not None:
                    splits["validation"].append(new.pair)
                    blobs.update(new.blobs)
                elif invalid is not None:
                    name = f"shapes-validation-{task}-{number:06d}"
                    invalid.append(InvalidPair(name, f"connects: no other caption was found in {TRIES} tries"))
                progress.step()
    return splits, blobs


def _unconnected(task: Task, number: int, seed: int, known: Ledger) -> MadePair | None:
    """The first of some validation pairs that is connected to no other split."""
    for at in range(TRIES):
        made = make_pair(task, number + at * STRIDE, seed=seed, held_out=False, validation=True)
        if not _objection(made.pair, "validation", known):
            return made
    return None


def _objection(pair: PreferencePair, split: Split, ledger: Ledger) -> str:
    """Why a pair cannot be of its split, or nothing. By the same bytes and captions alone: see `same_look`."""
    found = touched(keys_of(pair, {}), ledger)
    return "" if found.keys() <= {split} else connecting({split: set(), **found})


class _Progress:
    def __init__(self, total: int, on_progress: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._on_progress = 0, total, on_progress

    def step(self) -> None:
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)


def same_look(blobs: Mapping[str, bytes], max_frames: int) -> Confirm:
    """Whether two media of this world, by sha256, are the same picture or film in other bytes.

    Their perceptual hashes take 0.01 % of different scenes for the same (plain grounds and few forms; colours of equal
    brightness), hence the colours too. A medium that is not among `blobs` is like no other.
    """

    def confirm(one: str, other: str) -> bool:
        if one not in blobs or other not in blobs:
            return False
        first, second = (
            [_colours(frame) for frame in decode(blobs[x], x, max_frames=max_frames)] for x in (one, other)
        )
        return len(first) == len(second) and all(
            float(np.abs(a - b).max()) <= SAME_LOOK for a, b in zip(first, second, strict=True)
        )

    return confirm


def _colours(frame: Image.Image) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.asarray(frame.convert("RGB").resize((16, 16), Image.Resampling.LANCZOS), dtype=np.float32)


def foreign(pair: PreferencePair) -> str:
    """Why a pair from elsewhere is not of this world, or nothing: the embedded teacher refuses any other prompt."""
    try:
        (parse_caption if pair.task.judges_media else parse_question)(pair.prompt)
    except ValueError:
        return "world: the source is shapes, and the prompt is not of the shapes world"
    return ""
