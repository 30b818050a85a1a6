"""A model is told apart by its bytes, whatever its files' sizes and times say."""

import os
import time
from pathlib import Path

import pytest

from tasks.store import locations as data_files
from tasks.store import remembering
from tasks.store.artifacts import Store
from tasks.store.locations import fingerprint, model_digest


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten bytes are a large file here, and what changed a moment ago has settled."""
    monkeypatch.setattr(data_files, "HASHED_BYTES", 10)
    monkeypatch.setattr(remembering, "UNCHANGED_S", 0.02)


def model(folder: Path, weights: bytes = b"0123456789ab") -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    return folder


def replace_weights(folder: Path, weights: bytes) -> None:
    """Other bytes under the same size and time of change, in the same inode."""
    path = folder / "model.safetensors"
    before = path.stat()
    time.sleep(0.03)
    path.write_bytes(weights)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_other_weights_of_equal_size_and_time_are_another_model(tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    time.sleep(0.05)
    data_set, first = fingerprint(folder), model_digest(folder, tmp_path / "cache")
    assert list((tmp_path / "cache" / "digests").iterdir()), "the large file's digest is remembered"
    replace_weights(folder, b"ba9876543210")
    assert model_digest(folder, tmp_path / "cache") != first
    assert fingerprint(folder) == data_set, "a data set's fingerprint does not see it, as it says"


def test_what_is_remembered_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model(tmp_path / "model")
    time.sleep(0.05)
    first = model_digest(folder, tmp_path / "cache")
    read: list[Path] = []
    whole = data_files.hash_file
    monkeypatch.setattr(data_files, "hash_file", lambda path: read.append(path) or whole(path))
    assert model_digest(folder, tmp_path / "cache") == first
    assert [path.name for path in read] == ["config.json"]


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "UNCHANGED_S", 60.0)
    model_digest(model(tmp_path / "model"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_folder_has_the_digest_that_it_would_have_as_an_artifact(tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    ref = Store(str(tmp_path / "store")).publish("model", folder)
    assert model_digest(folder, tmp_path / "cache") == ref.digest
    (folder / "README.md").write_text("for people")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("")
    assert model_digest(folder, tmp_path / "cache") == ref.digest
    copy = model(tmp_path / "copy")
    assert model_digest(copy, tmp_path / "cache") == ref.digest


def test_a_broken_memory_is_read_over(tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    time.sleep(0.05)
    first = model_digest(folder, tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "digests").iterdir()
    kept.write_text("{")
    assert model_digest(folder, tmp_path / "cache") == first
