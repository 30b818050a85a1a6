"""The embedded source: balanced, reproducible, and split without a shared scene."""

import hashlib
from collections import Counter
from pathlib import Path

from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import Task
from models.sources.shapes import read_shapes


def test_both_splits_hold_every_task_with_balanced_positions_and_whole_media() -> None:
    done: list[tuple[int, int]] = []
    splits, blobs = read_shapes(
        train_pairs=6, held_out_pairs=2, seed=4, on_progress=lambda at, of: done.append((at, of))
    )
    assert done == [(at, 32) for at in range(1, 33)]
    assert Counter((pair.task, pair.preferred) for pair in splits["train"]) == {(t, p): 3 for t in Task for p in (1, 2)}
    assert Counter((pair.task, pair.preferred) for pair in splits["held_out"]) == {
        (t, p): 1 for t in Task for p in (1, 2)
    }
    everything = [*splits["train"], *splits["held_out"]]
    assert len({pair.id for pair in everything}) == len(everything)
    for media in (media for pair in everything for media in pair.media()):
        assert hashlib.sha256(blobs[media.uri]).hexdigest() == media.sha256


def test_a_larger_dataset_begins_with_the_smaller_one() -> None:
    small, _ = read_shapes(train_pairs=2, held_out_pairs=1, seed=4)
    large, _ = read_shapes(train_pairs=4, held_out_pairs=3, seed=4)
    for split in ("train", "held_out"):
        assert {pair.id: pair for pair in small[split]}.items() <= {pair.id: pair for pair in large[split]}.items()


def test_what_is_stored_is_read_back_pixel_for_pixel(tmp_path: Path) -> None:
    splits, blobs = read_shapes(train_pairs=2, held_out_pairs=2, seed=4)
    write_dataset(tmp_path, splits, blobs)
    read = PreferenceDataset(tmp_path, max_pixels=64 * 64, max_frames=8)
    assert read.pairs("train") == splits["train"]
    for pair in read.pairs("held_out"):
        for media in pair.media():
            frames = read.frames(media.uri)
            assert len(frames) == (4 if media.kind == "video" else 1)
            assert all(frame.size == (64, 64) for frame in frames)
