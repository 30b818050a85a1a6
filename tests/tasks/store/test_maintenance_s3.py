"""Garbage collection, verification, lineage and copying of a store on a real S3 server."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import StoreError
from tasks.store.artifacts import MANIFEST, IndexEntry, Store
from tasks.store.maintenance import copy_store, gc, lineage, verify_store
from tests.tasks.store.folders import files_in, make_folder, publish

REPOSITORY = Path(__file__).resolve().parents[3]

HOUR = 3600.0

FILES = {"weights.bin": b"0123456789" * 1000, "sub/config.json": b"{}", "empty": b"", "größe [1] 100% *.txt": b"x"}


@pytest.fixture
def store(bucket: str, tmp_path: Path) -> Store:
    return Store(f"s3://{bucket}/team/store", cache_dir=tmp_path / "cache")


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
        first.publish("model", make_folder(tmp_path / "made", FILES), metadata={"a": 1}),
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
