"""The artifact store on a real S3 server with authentication."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import ArtifactCorrupt, ArtifactMissing, StoreError, StoreNotWritable, StoreUnreachable
from tasks.store.artifacts import MANIFEST, ArtifactRef, IndexEntry, Store
from tasks.store.maintenance import copy_store, gc, lineage, verify_store
from tasks.store.objects import s3 as objects_s3
from tasks.store.objects.base import CHUNK_BYTES
from tests.tasks.seaweed import S3Server, free_ports

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


def make(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def publish(store: Store, folder: Path, text: str, kind: str = "model") -> ArtifactRef:
    return store.publish(kind, make(folder / text, {"data": text.encode()}), metadata={"text": text})


def files_in(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_published_is_fetched_byte_for_byte(store: Store, tmp_path: Path) -> None:
    store.check_writable()
    ref = store.publish("model", make(tmp_path / "made", FILES), metadata={"preset": "paper"})
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
    ref = store.publish("model", make(tmp_path / "made", files))
    assert files_in(store.fetch(ref)) == files
    store.verify(ref, deep=True)
    assert store.objects.unfinished() == []


@pytest.mark.parametrize("change", [b"", b"more"])
def test_an_object_of_another_length_is_corrupt(
    small_parts: None, store: Store, tmp_path: Path, change: bytes, s3_server: S3Server
) -> None:
    data = os.urandom(10 * MIB + 3)
    ref = store.publish("model", make(tmp_path / "made", {"w": data}))
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
    work.put_tree("last", make(tmp_path / "a", {"weights": b"1", "sub/only in 1": b""}))
    work.put_tree("last", make(tmp_path / "b", {"weights": b"2"}))
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


def test_gc_removes_what_nothing_refers_to(store: Store, tmp_path: Path) -> None:
    names = ("output", "input", "pinned", "orphan")
    output, source, pinned, orphan = (publish(store, tmp_path, name) for name in names)
    store.record(IndexEntry(stage="grpo", key="k", outputs={"m": output}, inputs={"d": source}))
    store.work("grpo", "k").put_bytes("answers", b"of a finished key")
    store.work("grpo", "unfinished").put_bytes("answers", b"paid for")
    pins = {pinned.digest}
    assert gc(store, grace_s=HOUR, dry_run=False, pinned=pins) == []
    with store.lease("sft", "k", owner="run", refs=[orphan]):
        made = publish(store, tmp_path, "made under a lease, not recorded yet")
        planned = gc(store, grace_s=0, dry_run=True, pinned=pins)
        assert [(one.what, one.path) for one in planned] == [("work", "work/grpo/k")]
    planned = gc(store, grace_s=0, dry_run=True, pinned=pins)
    assert {one.path for one in planned} == {orphan.path, made.path, "work/grpo/k"}
    assert len(store.artifacts()) == 5, "a dry run removes nothing"
    assert {one.path for one in gc(store, grace_s=0, dry_run=False, pinned=pins)} == {one.path for one in planned}
    assert set(store.artifacts()) == {output, source, pinned}
    assert store.work("grpo", "unfinished").get_bytes("answers") == b"paid for"
    assert gc(store, grace_s=0, dry_run=False, pinned=pins) == []


@pytest.mark.slow
def test_gc_goes_by_the_server_s_clock(store: Store, tmp_path: Path) -> None:
    old = publish(store, tmp_path, "old")
    reused = publish(store, tmp_path, "old, and published again")
    time.sleep(5)
    young = publish(store, tmp_path, "young")
    publish(store, tmp_path, "old, and published again")
    assert [one.path for one in gc(store, grace_s=4.5, dry_run=False)] == [old.path]
    assert set(store.artifacts()) == {reused, young}


def test_a_killed_upload_is_never_visible_and_gc_removes_its_parts(
    small_parts: None, store: Store, bucket: str, tmp_path: Path, s3_server: S3Server
) -> None:
    make(tmp_path / "made", {"small": b"x", "weights": os.urandom(16 * MIB)})
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
    folder = make(tmp_path / "made", {"weights": os.urandom(size)})
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


def test_verifying_reports_every_fault_and_drops_what_is_damaged(store: Store, tmp_path: Path) -> None:
    good, rotten, cut = (publish(store, tmp_path, name) for name in ("good", "rotten", "cut"))
    store.record(IndexEntry(stage="s", key="dangling", outputs={"a": good, "b": rotten}))
    store.objects.write("index/s/broken.json", b"{")
    store.objects.write(f"{rotten.path}/files/data", b"rotted")
    store.objects.write(f"{cut.path}/{MANIFEST}", b"{")
    found = {problem.where for problem in verify_store(store, drop=True).problems}
    assert found == {f"model {rotten.digest}", f"model {cut.digest}", "index/s/broken.json", "index/s/dangling.json"}
    assert store.artifacts() == [good]
    assert publish(store, tmp_path, "rotten") == rotten
    store.objects.remove("index/s/broken.json")
    assert verify_store(store).ok


def test_lineage_goes_back_to_what_no_stage_made(store: Store, tmp_path: Path) -> None:
    base, pairs, model = (publish(store, tmp_path, name) for name in ("base", "pairs", "model"))
    store.record(IndexEntry(stage="cold-start", key="c", outputs={"m": model}, inputs={"base": base, "pairs": pairs}))
    (made,) = lineage(store, model).made_by
    assert (made.entry.stage, made.inputs["pairs"].ref, made.inputs["base"].made_by) == ("cold-start", pairs, ())


def copy(source: str, target: str) -> dict[str, object]:
    command = [sys.executable, "-m", "flows.cli.main", "artifacts", "copy", "--from", source, "--to", target, "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


def test_a_copy_to_s3_and_back_has_the_same_digests(bucket: str, tmp_path: Path) -> None:
    first = Store(str(tmp_path / "first"))
    refs = [
        first.publish("model", make(tmp_path / "made", FILES), metadata={"a": 1}),
        publish(first, tmp_path, "pairs"),
    ]
    entry = IndexEntry(stage="grpo", key="k", outputs={"m": refs[0]}, inputs={"p": refs[1]})
    first.record(entry)
    there, back = f"s3://{bucket}/copy", (tmp_path / "back").as_uri()
    n_bytes = sum(ref.size for ref in refs)
    counts = {"n_copied": 2, "n_there": 0, "n_entries": 1, "n_bytes": n_bytes}
    assert copy(first.root, there) == {"from": first.root, "to": there, **counts}
    assert copy(first.root, there) == {
        "from": first.root,
        "to": there,
        **counts,
        "n_copied": 0,
        "n_there": 2,
        "n_bytes": 0,
    }
    assert copy(there, back) == {"from": there, "to": back, **counts}
    last = Store(back)
    assert last.artifacts() == first.artifacts()
    assert last.lookup("grpo", "k") == entry
    assert last.manifest(refs[0]).metadata == {"a": 1}
    assert files_in(last.fetch(refs[0])) == FILES
    assert verify_store(last).ok
    with pytest.raises(StoreError, match="holds no artifact: is this the root"):
        copy_store(Store(f"s3://{bucket}/nothing"), last)
    with pytest.raises(StoreError, match="to itself"):
        copy_store(Store(there), Store(f"{there}/"))


@pytest.mark.slow
def test_a_folder_of_more_objects_than_a_page_lists_is_seen_whole(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.objects.write(f"many/{number:04d}", b"x"), range(1100)))
    assert [found.path for found in store.objects.walk("many")] == [f"many/{number:04d}" for number in range(1100)]
    store.objects.remove_tree("many")
    assert store.objects.walk("many") == []


SKEWED = """
import botocore.auth, datetime, sys
real = botocore.auth.get_current_datetime
botocore.auth.get_current_datetime = lambda *a, **k: real(*a, **k) + datetime.timedelta(hours=1)
"""
ASK = """
import sys
from models.errors import StoreError
from tasks.store.artifacts import Store
store = Store(sys.argv[1])
for ask in (store.check_writable, lambda: store.lookup("s", "k"), lambda: store.objects.exists("x"), store.addresses):
    try:
        ask()
        sys.stdout.write("fine\\n")
    except StoreError as error:
        sys.stdout.write(f"{type(error).__name__} {error}\\n")
"""


@pytest.mark.parametrize(
    ("before", "explain_error"),
    [
        ("key", "{url} does not know the key in AWS_ACCESS_KEY_ID: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("secret", "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID: set AWS_ACCESS_KEY_ID and AWS_SECRET"),
        ("none", "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("bucket", "there is no bucket no-such-bucket at {url}: create it (aws s3 mb s3://no-such-bucket), or correct"),
        ("clock", "this machine's clock and that of {url} differ by more than it allows: set this machine's clock"),
    ],
)
def test_an_error_names_what_is_wrong_and_the_cure(
    s3_server: S3Server, bucket: str, before: str, explain_error: str
) -> None:
    environment = dict(os.environ)
    if before == "key":
        environment["AWS_ACCESS_KEY_ID"] = "nobody"
    if before == "secret":
        environment["AWS_SECRET_ACCESS_KEY"] = "hunter2-hunter2"
    if before == "none":
        del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        environment |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nowhere"}
    root = "s3://no-such-bucket/x" if before == "bucket" else f"s3://{bucket}/x"
    script = (SKEWED if before == "clock" else "") + ASK
    done = subprocess.run(
        [sys.executable, "-c", script, root],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4, "one line each"
    for line, kind in zip(lines, ("StoreNotWritable", "StoreError", "StoreError", "StoreError"), strict=True):
        assert line.startswith(kind), line
        assert root in line
        assert explain_error.format(url=s3_server.url) in line
    assert "hunter2" not in done.stdout + done.stderr
    assert s3_server.admin[1] not in done.stdout + done.stderr


def test_who_may_only_read_is_told_what_to_grant(
    s3_server: S3Server, store: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = publish(store, tmp_path, "there")
    for name, value in s3_server.environment_of(s3_server.reader).items():
        monkeypatch.setenv(name, value)
    reader = Store(store.root, cache_dir=tmp_path / "cache")
    assert files_in(reader.fetch(ref)) == {"data": b"there"}
    cure = rf"may not do that: grant them .*s3:PutObject.* on {bucket}, or use others"
    with pytest.raises(StoreNotWritable, match=cure) as refused:
        reader.check_writable()
    assert not refused.value.retryable
    with pytest.raises(StoreError, match=cure):
        publish(reader, tmp_path, "new")
    with pytest.raises(StoreError, match=cure):
        reader.drop("model", ref.digest)
    assert reader.artifacts() == [ref]


def test_a_server_that_is_not_there_is_unreachable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://someone:hunter2@127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = Store(f"s3://{bucket}/x")
    with pytest.raises(StoreUnreachable) as caught:
        store.lookup("s", "k")
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    store = Store(f"s3://{bucket}/x")
    cure = re.escape(f"no server answers at http://127.0.0.1:{port}: start it, or correct AWS_ENDPOINT_URL")
    for ask in (store.check_writable, store.artifacts, lambda: store.lookup("s", "k")):
        with pytest.raises(StoreUnreachable, match=cure):
            ask()


def test_an_address_that_is_none_is_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:8333")
    with pytest.raises(StoreError, match=r"AWS_ENDPOINT_URL 'localhost:8333' is no address: give one such as http"):
        Store(f"s3://{bucket}/x").artifacts()


def test_what_a_newer_version_wrote_asks_for_an_upgrade(store: Store) -> None:
    store.objects.write("index/grpo/k.json", b'{"schema_version": 2, "whatever": true}')
    where = re.escape(store.objects.uri("index/grpo/k.json"))
    with pytest.raises(StoreError, match=f"{where} has schema version 2, this Thinkreward reads up to 1: upgrade it"):
        store.lookup("grpo", "k")
