"""The ledger comes back as it was written, keeps the first split, and can begin with older preferences."""

from pathlib import Path

import pytest

from models.errors import DataError
from models.pairs.dataset import write_dataset
from models.sources.shapes import read_shapes
from models.splits.ledger import Ledger
from tests.models.splits.made import asked, generated, sha256


def test_a_ledger_is_read_as_it_was_written_and_gives_the_same_bytes(tmp_path: Path) -> None:
    hashes = {sha256("a"): (3, 2**63 + 5), sha256("c"): (7,)}
    one, two = Ledger(), Ledger()
    one.add({"train": [generated("p", "a", "b")], "held_out": [asked("q", "c")]}, hashes)
    two.add({"held_out": [asked("q", "c")], "train": [generated("p", "a", "b")]}, hashes)
    for name, ledger in (("one", one), ("two", two)):
        (tmp_path / name).mkdir()
        ledger.write(tmp_path / name)
    assert Ledger.read(tmp_path / "one") == one
    assert (tmp_path / "one" / "splits.parquet").read_bytes() == (tmp_path / "two" / "splits.parquet").read_bytes()
    assert one.media == {sha256("a"): "train", sha256("b"): "train", sha256("c"): "held_out"}
    assert len(one.prompts) == 1, "a question is no prompt that connects"


def test_an_empty_ledger_can_be_written(tmp_path: Path) -> None:
    Ledger().write(tmp_path)
    assert Ledger.read(tmp_path) == Ledger()


def test_what_is_entered_stays_in_its_split() -> None:
    ledger = Ledger()
    ledger.add({"held_out": [generated("p", "a", "b")]}, {})
    ledger.add({"train": [generated("p", "a", "b"), generated("q", "a", "c")]}, {})
    assert ledger.media == {sha256("a"): "held_out", sha256("b"): "held_out", sha256("c"): "train"}
    assert set(ledger.copy().pairs.values()) == {"held_out", "train"}


def test_preferences_of_before_there_were_ledgers_tell_their_splits(tmp_path: Path) -> None:
    splits, blobs = read_shapes(train_pairs=2, held_out_pairs=2, seed=0)
    write_dataset(tmp_path, splits, blobs)
    found = Ledger.read(tmp_path)
    for split in ("train", "held_out"):
        assert {found.media[medium.sha256] for pair in splits[split] for medium in pair.media()} == {split}


def test_a_folder_with_neither_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no splits\.parquet and no pairs"):
        Ledger.read(tmp_path)
