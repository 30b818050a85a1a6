"""Pairs as training rows: each is asked in its own mode."""

from pathlib import Path

from models.pairs.dataset import PreferenceDataset, write_dataset
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from models.training.rows import training_rows
from models.verdict.instructions import mode_instructions


def test_a_row_is_asked_in_its_own_mode(tmp_path: Path) -> None:
    made = [make_pair(task, at, seed=0, held_out=False) for at, task in enumerate(Task)]
    pairs = [one.pair for one in made]
    write_dataset(tmp_path, {"train": pairs, "held_out": pairs}, {u: b for one in made for u, b in one.blobs.items()})
    media = PreferenceDataset(tmp_path, max_pixels=147_456, max_frames=8)
    rows = training_rows(pairs, media, ["thought", "plain"] * 2, ["think", "direct"] * 2)
    for row, mode, answer in zip(rows, ["think", "direct"] * 2, ["thought", "plain"] * 2, strict=True):
        asked = row["prompt"][0]["content"][0]["text"]
        assert mode_instructions(mode) in asked  # type: ignore[arg-type]
        assert row["completion"][0]["content"] == answer
        assert sum(part["type"] == "image" for part in row["prompt"][0]["content"]) == len(row["images"])


def test_without_modes_all_are_asked_to_think(tmp_path: Path) -> None:
    made = make_pair(Task.IMAGE_GENERATION, 0, seed=0, held_out=False)
    write_dataset(tmp_path, {"train": [made.pair], "held_out": [made.pair]}, made.blobs)
    (row,) = training_rows([made.pair], PreferenceDataset(tmp_path, max_pixels=147_456, max_frames=8))
    assert mode_instructions("think") in row["prompt"][0]["content"][0]["text"]
