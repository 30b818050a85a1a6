"""Resumable work in progress, on a file system and on a real S3 server."""

import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ArtifactCorrupt, ArtifactMissing, StoreError
from tasks.store.artifacts import Store, Work

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(root: str) -> Store:
    return Store(root)


@pytest.fixture
def work(store: Store) -> Work:
    return store.work("grpo", "k")


def checkpoint(folder: Path, step: int) -> Path:
    (folder / "optimizer").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"w%d" % step)
    (folder / "optimizer" / "state 1.bin").write_bytes(b"o%d" % step)
    (folder / f"only-in-{step}").write_bytes(b"")
    return folder


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_blobs_are_kept_by_name(store: Store, work: Work, tmp_path: Path) -> None:
    assert work.get_bytes("answers/0001") is None
    assert work.get_json("answers/0001.json") is None
    work.put_bytes("answers/0001", b"one")
    work.put_bytes("answers/0001", b"two")
    work.put_json("state größe.json", {"step": 3, "texts": ["é"]})
    (tmp_path / "shard").write_bytes(b"parquet")
    work.put_file("shards/0.parquet", tmp_path / "shard")
    again = store.work("grpo", "k")
    assert again.get_bytes("answers/0001") == b"two"
    assert again.get_json("state größe.json") == {"step": 3, "texts": ["é"]}
    assert again.get_bytes("shards/0.parquet") == b"parquet"
    assert again.names() == ["answers/0001", "shards/0.parquet", "state größe.json"]
    assert again.names("answers/") == ["answers/0001"]
    assert again.exists("answers/0001")
    assert not again.exists("answers")
    assert store.work("grpo", "other").names() == []


@pytest.mark.parametrize("name", ["", "../up", "/etc/passwd", "a//b", "a/../b", "a\nb"])
def test_names_that_leave_the_folder_are_refused(work: Work, name: str) -> None:
    with pytest.raises(StoreError):
        work.put_bytes(name, b"")


def test_json_that_does_not_parse_is_no_miss(work: Work) -> None:
    work.put_bytes("state.json", b"{")
    with pytest.raises(ArtifactCorrupt, match=r"state\.json"):
        work.get_json("state.json")
    with pytest.raises(StoreError, match="set"):
        work.put_json("state.json", {1, 2})


def test_a_tree_comes_back_as_it_was_put(work: Work, tmp_path: Path) -> None:
    work.put_tree("checkpoint-40", checkpoint(tmp_path / "c", 40))
    assert work.trees() == ["checkpoint-40"]
    assert work.exists("checkpoint-40")
    assert work.names() == []
    work.get_tree("checkpoint-40", tmp_path / "out")
    assert files_in(tmp_path / "out") == files_in(tmp_path / "c")
    assert (tmp_path / "out" / "optimizer" / "state 1.bin").read_bytes() == b"o40"


def test_a_tree_is_replaced_as_a_whole(store: Store, work: Work, tmp_path: Path) -> None:
    work.put_tree("last", checkpoint(tmp_path / "a", 1))
    work.put_tree("last", checkpoint(tmp_path / "b", 2))
    work.get_tree("last", tmp_path / "out")
    assert files_in(tmp_path / "out") == ["only-in-2", "optimizer/state 1.bin", "weights.bin"]
    assert len(store.objects.walk("work")) == 4, "three files and the marker: the old generation is gone"


def test_getting_a_tree_replaces_the_folder_that_is_there(work: Work, tmp_path: Path) -> None:
    work.put_tree("last", checkpoint(tmp_path / "a", 1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "half-written").write_text("")
    work.get_tree("last", tmp_path / "out")
    assert files_in(tmp_path / "out") == files_in(tmp_path / "a")
    assert {path.name for path in tmp_path.iterdir()} - {"store"} == {"a", "out"}, "nothing beside it"


@pytest.mark.parametrize("earlier", [False, True])
def test_a_put_that_is_killed_halfway_leaves_the_earlier_tree(
    store: Store, work: Work, tmp_path: Path, earlier: bool
) -> None:
    if earlier:
        work.put_tree("last", checkpoint(tmp_path / "a", 1))
    script = f"""
import os
from pathlib import Path
from tasks.store.artifacts import Store
store = Store({store.root!r})
real = store.objects.upload
def dying(source, path):
    real(source, path)
    if source.name == "weights.bin":
        os.kill(os.getpid(), 9)
store.objects.upload = dying
store.work("grpo", "k").put_tree("last", Path({str(checkpoint(tmp_path / "b", 2))!r}))
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=False).returncode == -9
    assert len(store.objects.walk("work")) > (4 if earlier else 0), "the test has to have left something behind"
    assert work.trees() == (["last"] if earlier else [])
    if earlier:
        work.get_tree("last", tmp_path / "out")
        assert (tmp_path / "out" / "weights.bin").read_bytes() == b"w1"
    work.put_tree("last", tmp_path / "b")
    work.get_tree("last", tmp_path / "out")
    assert (tmp_path / "out" / "weights.bin").read_bytes() == b"w2"


def test_a_put_that_fails_leaves_the_earlier_tree(
    store: Store, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.put_tree("last", checkpoint(tmp_path / "a", 1))
    before = store.objects.walk("work")

    def full(path: str, data: bytes) -> None:
        raise StoreError("No space left on device")

    monkeypatch.setattr(store.objects, "write", full)
    with pytest.raises(StoreError, match="No space"):
        work.put_tree("last", checkpoint(tmp_path / "b", 2))
    assert store.objects.walk("work") == before


def test_a_damaged_tree_is_never_handed_out(store: Store, work: Work, tmp_path: Path) -> None:
    work.put_tree("last", checkpoint(tmp_path / "a", 1))
    (weights,) = [found.path for found in store.objects.walk("work") if "weights" in found.path]
    store.objects.write(weights, b"w9")
    with pytest.raises(ArtifactCorrupt, match=r"weights\.bin"):
        work.get_tree("last", tmp_path / "out")
    store.objects.remove(weights)
    with pytest.raises(ArtifactMissing, match=r"weights\.bin"):
        work.get_tree("last", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    work.put_tree("last", tmp_path / "a")
    work.get_tree("last", tmp_path / "out")


def test_a_reader_of_a_tree_that_is_being_replaced_gets_the_new_one(
    store: Store, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.put_tree("last", checkpoint(tmp_path / "a", 1))
    real = store.objects.download

    def replaced_meanwhile(path: str, local: Path, size: int | None = None) -> str:
        monkeypatch.setattr(store.objects, "download", real)
        work.put_tree("last", checkpoint(tmp_path / "b", 2))
        return real(path, local, size)

    monkeypatch.setattr(store.objects, "download", replaced_meanwhile)
    work.get_tree("last", tmp_path / "out")
    assert files_in(tmp_path / "out") == files_in(tmp_path / "b")


def test_deleted_and_cleared_work_is_gone(store: Store, work: Work, tmp_path: Path) -> None:
    work.put_tree("checkpoint-1", checkpoint(tmp_path / "a", 1))
    work.put_tree("checkpoint-2", tmp_path / "a")
    work.put_bytes("answers/1", b"")
    work.delete("checkpoint-1")
    work.delete("never-was")
    assert work.trees() == ["checkpoint-2"]
    with pytest.raises(ArtifactMissing, match="checkpoint-1"):
        work.get_tree("checkpoint-1", tmp_path / "out")
    work.delete("answers/1")
    assert work.names() == []
    work.clear()
    work.clear()
    assert store.objects.walk("work") == []
