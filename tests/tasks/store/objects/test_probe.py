"""Whether a storage can be written, create-only too."""

import subprocess
from pathlib import Path

import pytest

from models.errors import StoreNotWritable
from tasks.store.artifacts import Store
from tests.tasks.store.folders import everything_in


def test_a_root_that_is_a_file_is_not_writable_for_anybody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreNotWritable, match=r"file.*Choose another root"):
        Store(str(tmp_path / "file")).check_writable()
    with pytest.raises(StoreNotWritable, match="Not a directory"):
        Store(str(tmp_path / "file" / "below")).check_writable()


def test_a_read_only_file_system_is_not_writable(tiny_disk: Path) -> None:
    store = Store(str(tiny_disk / "store"))
    store.check_writable()
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(StoreNotWritable, match="Read-only file system"):
        store.check_writable()


def test_checking_leaves_nothing_behind(store: Store) -> None:
    store.check_writable()
    assert everything_in(store) == []


def test_a_storage_that_ignores_create_only_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some S3-like servers take If-None-Match and overwrite all the same.
    def careless(path: str, data: bytes) -> bool:
        store.objects.write(path, data)
        return True

    monkeypatch.setattr(store.objects, "create", careless)
    with pytest.raises(StoreNotWritable, match="create-only"):
        store.check_writable()
