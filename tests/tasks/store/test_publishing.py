"""Publishing that fails: nothing of it is visible, and the error says what was needed."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ArtifactMissing, StoreError
from tasks.store.artifacts import MANIFEST, IndexEntry, Store
from tests.tasks.store.folders import everything_in, make_folder, stored

REPOSITORY = Path(__file__).resolve().parents[3]


def test_an_upload_that_is_killed_halfway_is_never_visible(store: Store, folder: Path) -> None:
    # The child dies in the middle of the copy, as by the OOM killer: no handler runs.
    script = f"""
import os
from pathlib import Path
import tasks.store.objects.local as local
from tasks.store.artifacts import Store
real = local._copy
def dying(source, target):
    real(source, target)
    if source.name == "files/sub/config.json":
        os.kill(os.getpid(), 9)
local._copy = dying
Store({store.root!r}).publish("model", Path({str(folder)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=False)
    assert killed.returncode == -9
    assert everything_in(store), "the test has to have left something behind"
    assert store.artifacts() == []
    ref = store.publish("model", folder)
    store.verify(ref, deep=True)


def test_files_without_a_manifest_are_no_artifact(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    stored(store, ref, MANIFEST).unlink()
    assert store.artifacts() == []
    with pytest.raises(ArtifactMissing, match="has to be made again"):
        store.fetch(ref)
    assert store.publish("model", folder) == ref
    store.verify(ref, deep=True)


@pytest.mark.parametrize("prepare", ["missing", "empty", "folder link", "broken link", "fifo", "control character"])
def test_what_cannot_be_stored_is_refused(store: Store, tmp_path: Path, prepare: str) -> None:
    folder = tmp_path / "bad"
    if prepare != "missing":
        folder.mkdir()
    if prepare == "folder link":
        (folder / "link").symlink_to(tmp_path)
    if prepare == "broken link":
        (folder / "link").symlink_to(tmp_path / "nowhere")
    if prepare == "fifo":
        os.mkfifo(folder / "pipe")
    if prepare == "control character":
        (folder / "a\nb").write_bytes(b"")
    with pytest.raises(StoreError):
        store.publish("model", folder)
    assert store.artifacts() == []


def test_links_to_files_are_stored_as_their_bytes(store: Store, tmp_path: Path) -> None:
    # A Hugging Face snapshot folder consists of such links.
    blob = make_folder(tmp_path / "blobs", {"abc": b"weights"}) / "abc"
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").symlink_to(blob)
    fetched = store.fetch(store.publish("model", tmp_path / "snapshot")) / "model.safetensors"
    assert fetched.read_bytes() == b"weights"
    assert not fetched.is_symlink()


def test_a_file_that_changes_while_it_is_published_is_refused(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.store.objects.local as local

    real = local._copy_bytes

    def trainer_still_writes(source: Path, target: Path) -> str:
        if source.name == "weights.bin":
            source.write_bytes(b"newer")
        return real(source, target)

    monkeypatch.setattr(local, "_copy_bytes", trainer_still_writes)
    with pytest.raises(StoreError, match=r"weights\.bin changed while"):
        store.publish("model", folder)
    assert everything_in(store) == []


def test_a_full_disk_says_how_much_is_needed_and_leaves_nothing(tiny_disk: Path, tmp_path: Path) -> None:
    store = Store(str(tiny_disk / "store"))
    small = store.publish("model", make_folder(tmp_path / "small", {"a": b"a" * 10_000}))
    before = everything_in(store)
    big = make_folder(tmp_path / "big", {f"part-{i}": os.urandom(100_000) for i in range(4)})
    with pytest.raises(StoreError, match=r"400000 bytes needed"):
        store.publish("model", big)
    assert everything_in(store) == before
    store.verify(small, deep=True)


def test_a_disk_that_fills_up_on_the_way_leaves_nothing(
    tiny_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tiny_disk / "store"))
    monkeypatch.setattr(store.objects, "free_bytes", lambda: 10**9)  # another program takes the space meanwhile
    big = make_folder(tmp_path / "big", {f"part-{i}": os.urandom(100_000) for i in range(4)})
    with pytest.raises(StoreError, match=r"disk.*400000 bytes needed.*nothing was published.*No space left"):
        store.publish("model", big)
    assert everything_in(store) == []
    store.record(IndexEntry(stage="s", key="k", outputs={}))  # there is room again


def test_a_write_that_fails_leaves_nothing(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left.*free some space"):
        store.publish("model", folder)
    monkeypatch.undo()
    assert everything_in(store) == []
