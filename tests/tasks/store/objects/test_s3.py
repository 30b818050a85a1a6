"""The artifact store on a real S3 server with authentication."""

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import ArtifactCorrupt, ArtifactMissing, StoreError
from tasks.store.artifacts import IndexEntry, Store
from tasks.store.maintenance import gc, verify_store
from tasks.store.objects import s3 as objects_s3
from tasks.store.objects.base import CHUNK_BYTES
from tests.tasks.seaweed import S3Server
from tests.tasks.store.folders import files_in, make_folder, publish

REPOSITORY = Path(__file__).resolve().parents[4]

MIB = 1 << 20

HOUR = 3600.0

FILES = {"weights.bin": b"0123456789" * 1000, "sub/config.json": b"{}", "empty": b"", "größe [1] 100% *.txt": b"x"}


@pytest.fixture
def store(bucket: str, tmp_path: Path) -> Store:
    return Store(f"s3://{bucket}/team/store", cache_dir=tmp_path / "cache")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of the smallest size that S3 takes: files of a few MiB travel as model files do."""
    monkeypatch.setattr(objects_s3, "PART_BYTES", 5 * MIB)


def test_what_is_published_is_fetched_byte_for_byte(store: Store, tmp_path: Path) -> None:
    store.check_writable()
    ref = store.publish("model", make_folder(tmp_path / "made", FILES), metadata={"preset": "paper"})
    assert ref == Store(str(tmp_path / "local")).publish("model", tmp_path / "made"), (
        "the digest is that of any storage"
    )
    assert files_in(store.fetch(ref)) == FILES
    store.verify(ref, deep=True)
    assert store.manifest(ref).metadata == {"preset": "paper"}
    before = store.objects.walk("")
    assert store.publish("model", tmp_path / "made", metadata={"preset": "other"}) == ref
    after = store.objects.walk("")
    assert [(found.path, found.size) for found in before] == [(found.path, found.size) for found in after]
    assert store.artifacts() == [ref] == [store.resolve(ref.short)]


def test_large_files_travel_in_parts(small_parts: None, store: Store, tmp_path: Path) -> None:
    # At, just below and just above the sizes at which one part becomes two and two become three.
    sizes = {"a": 5 * MIB, "b": 5 * MIB + 1, "c": 10 * MIB, "d": 10 * MIB + 1, "e": 2 * CHUNK_BYTES - 1}
    files = {name: os.urandom(size) for name, size in sizes.items()}
    ref = store.publish("model", make_folder(tmp_path / "made", files))
    assert files_in(store.fetch(ref)) == files
    store.verify(ref, deep=True)
    assert store.objects.unfinished() == []


@pytest.mark.parametrize("change", [b"", b"more"])
def test_an_object_of_another_length_is_corrupt(
    small_parts: None, store: Store, tmp_path: Path, change: bytes, s3_server: S3Server
) -> None:
    data = os.urandom(10 * MIB + 3)
    ref = store.publish("model", make_folder(tmp_path / "made", {"w": data}))
    path = f"{ref.path}/files/w"
    store.objects.write(path, data + change if change else data[: 5 * MIB])
    with pytest.raises(ArtifactCorrupt, match="its manifest has"):
        store.fetch(ref)
    assert store.objects.sha256(path) != store.manifest(ref).files[0].sha256
    with pytest.raises(ArtifactCorrupt, match="bytes, its manifest has"):
        store.verify(ref)
    assert store.publish("model", tmp_path / "made") == ref, "publishing repairs it"
    store.verify(ref, deep=True)


def test_what_is_missing_or_dropped_says_so(store: Store, tmp_path: Path) -> None:
    kept, dropped = publish(store, tmp_path, "kept"), publish(store, tmp_path, "dropped")
    store.drop("model", dropped.digest)
    for ask in (store.fetch, store.manifest, store.verify):
        with pytest.raises(ArtifactMissing, match=dropped.short):
            ask(dropped)
    # SeaweedFS goes on listing an emptied folder for a while: nothing may take it for an artifact.
    assert store.artifacts() == [kept]
    with pytest.raises(StoreError, match="no artifact"):
        store.resolve(dropped.short)
    assert verify_store(store).ok
    store.record(IndexEntry(stage="s", key="k", outputs={"m": kept}))
    assert gc(store, grace_s=0, dry_run=False) == []
    store.objects.remove(f"{kept.path}/files/data")
    with pytest.raises(ArtifactMissing, match="files/data is gone"):
        store.fetch(kept)


def test_an_entry_is_found_by_its_stage_and_key_only(store: Store, tmp_path: Path) -> None:
    ref = publish(store, tmp_path, "model")
    entry = IndexEntry(stage="cold-start", key="abc", outputs={"model": ref}, facts={"seconds": 1.5})
    assert store.lookup("cold-start", "abc") is None
    store.record(entry)
    assert store.lookup("cold-start", "abc") == entry
    assert store.lookup("cold-start", "ab") is None
    store.record(entry.model_copy(update={"code_version": "2"}))
    assert [e.code_version for e in store.entries("cold-start")] == ["2"]
    store.forget("cold-start", "abc")
    store.forget("cold-start", "abc")
    assert store.lookup("cold-start", "abc") is None


def test_work_in_progress_is_kept_replaced_and_cleared(store: Store, tmp_path: Path) -> None:
    work = store.work("grpo", "k")
    assert work.get_json("state.json") is None
    work.put_json("state.json", {"step": 3})
    (tmp_path / "shard").write_bytes(b"parquet")
    work.put_file("shards/größe 0.parquet", tmp_path / "shard")
    work.put_tree("last", make_folder(tmp_path / "a", {"weights": b"1", "sub/only in 1": b""}))
    work.put_tree("last", make_folder(tmp_path / "b", {"weights": b"2"}))
    again = Store(store.root).work("grpo", "k")
    assert again.names() == ["shards/größe 0.parquet", "state.json"]
    assert (again.exists("shards"), again.exists("last"), again.exists("state.json")) == (False, True, True)
    assert again.exists("shards/größe 0.parquet")
    again.get_tree("last", tmp_path / "out")
    assert files_in(tmp_path / "out") == {"weights": b"2"}
    again.clear()
    assert store.objects.walk("work") == []


def test_of_two_processes_one_works_and_the_other_sees_its_result(store: Store, tmp_path: Path) -> None:
    script = f"""
import os, time
from tasks.store.artifacts import IndexEntry, Store
store = Store({store.root!r})
with store.lease("grpo", "k", owner=str(os.getpid()), ttl_s=20, poll_s=0.05) as lease:
    if store.lookup("grpo", "k") is None:
        time.sleep(0.5)
        open({str(tmp_path)!r} + f"/computed-{{os.getpid()}}", "x").close()
        lease.check()
        store.record(IndexEntry(stage="grpo", key="k", outputs={{}}))
"""
    children = [subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    assert len(list(tmp_path.glob("computed-*"))) == 1


def test_of_many_creates_one_succeeds(store: Store) -> None:
    for number in range(2):
        start = threading.Barrier(4)

        def create(who: int, number: int = number, start: threading.Barrier = start) -> bool:
            start.wait()
            return store.objects.create(f"race/{number}", b"%d" % who)

        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(create, range(4)))
        assert sum(won) == 1
        assert store.objects.read(f"race/{number}") == b"%d" % won.index(True)


def test_a_forked_process_connects_anew(store: Store, tmp_path: Path) -> None:
    # A process that forks after it has used the store: an event loop does not survive that.
    script = f"""
import multiprocessing
from tasks.store.artifacts import Store
store = Store({store.root!r})
store.objects.write("from-parent", b"x")
child = multiprocessing.get_context("fork").Process(target=store.objects.write, args=("from-child", b"x"))
child.start()
child.join(60)
assert child.exitcode == 0, child.exitcode
"""
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)
    assert [found.path for found in store.objects.walk("")] == ["from-child", "from-parent"]


def test_a_killed_upload_is_never_visible_and_gc_removes_its_parts(
    small_parts: None, store: Store, bucket: str, tmp_path: Path, s3_server: S3Server
) -> None:
    make_folder(tmp_path / "made", {"small": b"x", "weights": os.urandom(16 * MIB)})
    script = f"""
import os
from pathlib import Path
from tasks.store.objects import s3 as objects_s3
from tasks.store.objects import s3_uploads
from tasks.store.artifacts import Store
objects_s3.PART_BYTES = {5 * MIB}
s3_uploads.PartsUpload._finish = lambda *_: os.kill(os.getpid(), 9)  # all but the last request was made
Store({store.root!r}).publish("model", Path({str(tmp_path / "made")!r}))
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=False).returncode == -9
    assert store.artifacts() == []
    assert not any("weights" in found.path for found in store.objects.walk(""))
    (upload,) = store.objects.unfinished()
    assert upload.path.startswith("artifacts/model/") and upload.path.endswith("/files/weights")
    other = Store(f"s3://{bucket}/another")
    assert other.objects.unfinished() == [], "what is not below our root is not ours"

    assert gc(store, grace_s=HOUR, dry_run=False) == []
    assert "unfinished upload" in {one.what for one in gc(store, grace_s=0, dry_run=True)}
    assert store.objects.unfinished() == [upload], "a dry run removes nothing"
    assert "unfinished upload" in {one.what for one in gc(store, grace_s=0, dry_run=False)}
    assert store.objects.unfinished() == []
    with store.lease("grpo", "k", owner="run"):
        s3 = s3_server.client()
        begun = s3.create_multipart_upload(Bucket=bucket, Key="team/store/artifacts/model/of-a-live-run")
        assert gc(store, grace_s=0, dry_run=False) == []
        assert [one.upload_id for one in store.objects.unfinished()] == [begun["UploadId"]]
    ref = store.publish("model", tmp_path / "made")
    store.verify(ref, deep=True)


@pytest.mark.parametrize("size", [1000, 11 * MIB])
def test_a_file_that_changes_while_it_is_uploaded_is_refused(
    small_parts: None, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    folder = make_folder(tmp_path / "made", {"weights": os.urandom(size)})
    info = (folder / "weights").stat()
    real = store.objects.add_tree

    def trainer_still_writes(*arguments: object, **named: object) -> None:
        with (folder / "weights").open("r+b") as file:
            file.seek(size // 2)
            file.write(b"newer")
        os.utime(folder / "weights", ns=(info.st_atime_ns, info.st_mtime_ns))  # as a write through mmap may look
        real(*arguments, **named)

    monkeypatch.setattr(store.objects, "add_tree", trainer_still_writes)
    with pytest.raises(StoreError, match="weights changed while it was being stored"):
        store.publish("model", folder)
    assert store.objects.walk("") == []
    assert store.objects.unfinished() == []


def test_what_a_newer_version_wrote_asks_for_an_upgrade(store: Store) -> None:
    store.objects.write("index/grpo/k.json", b'{"schema_version": 2, "whatever": true}')
    where = re.escape(store.objects.uri("index/grpo/k.json"))
    with pytest.raises(StoreError, match=f"{where} has schema version 2, this Thinkreward reads up to 1: upgrade it"):
        store.lookup("grpo", "k")
