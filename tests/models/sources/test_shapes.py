"""The embedded source: balanced, reproducible, and split without a shared scene."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from configs.sections.data import Prepare
from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import PreferencePair, Split, Task
from models.shapes.pairs import KINDS
from models.shapes.world import NEAR_COLOURS, Level
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


EVERY = 2 * 360  # pairs a task that every task's number of kinds divides, twice so that each level has its share


@pytest.fixture(scope="module")
def whole() -> dict[Split, list[PreferencePair]]:
    """Splits of the sizes that the settings have as their defaults, but for the training split."""
    sizes = Prepare()
    splits, _ = read_shapes(
        train_pairs=EVERY, held_out_pairs=sizes.held_out_pairs, validation_pairs=sizes.validation_pairs, seed=4
    )
    return splits


def of_level(pairs: list[PreferencePair], level: Level) -> list[PreferencePair]:
    return [pair for pair in pairs if f"-{level}-" in pair.id]


@pytest.mark.parametrize("split", ["train", "validation", "held_out"])
def test_all_kinds_of_a_task_have_equal_shares_in_every_split(
    split: Split, whole: dict[Split, list[PreferencePair]]
) -> None:
    for task in Task:
        there = [pair for pair in whole[split] if pair.task == task]
        assert Counter(pair.group for pair in there) == dict.fromkeys(KINDS[task], len(there) / len(KINDS[task]))
        for kind in KINDS[task]:
            firsts = sum(pair.preferred == 1 for pair in there if pair.group == kind)
            assert abs(2 * firsts - len(there) / len(KINDS[task])) <= 1


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("split", ["train", "validation", "held_out"])
def test_temporal_flaws_where_questions_and_near_colours_occur_at_every_level(
    split: Split, level: Level, whole: dict[Split, list[PreferencePair]]
) -> None:
    pairs = of_level(whole[split], level)
    found = Counter((pair.task, pair.group) for pair in pairs)
    for flaw in ("flicker", "jump", "direction"):
        assert found[Task.VIDEO_GENERATION, flaw] >= 3
    for task in (Task.IMAGE_UNDERSTANDING, Task.VIDEO_UNDERSTANDING):
        assert found[task, "where"] >= 3
        answers = [
            {str(candidate.text) for candidate in pair.candidates}
            for pair in pairs
            if (pair.task, pair.group) == (task, "colour")
        ]
        near = [pair for pair in answers if any({one, other} == pair for one, other in NEAR_COLOURS.items())]
        assert len(near) >= 3
        assert (len(near) == len(answers)) == (level is Level.HARD)
