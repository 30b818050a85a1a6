"""The store behind a proxy that drops, delays, truncates and answers 500 and 503: the same digests, and no error."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import StoreError, StoreUnreachable
from tasks.store.artifacts import ArtifactRef, IndexEntry, Store
from tasks.store.maintenance import gc, verify_store
from tasks.store.objects import s3 as objects_s3
from tests.tasks.fault_proxy import FAULTS, FaultProxy
from tests.tasks.seaweed import S3Server

REPOSITORY = Path(__file__).resolve().parents[2]
MIB = 1 << 20


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of the smallest size that S3 takes: files of a few MiB travel as model files do."""
    monkeypatch.setattr(objects_s3, "PART_BYTES", 5 * MIB)


@pytest.fixture
def proxy(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy that spoils nothing yet, and that stores made from here on talk to."""
    with FaultProxy(s3_server.url, share=0.0, seed=7) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def straight(store: Store, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The same store without the proxy: what is really there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    return Store(store.root, cache_dir=store._cache.directory.parent / "straight")


def make(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_proxy_that_spoils_nothing_is_not_noticed(proxy: FaultProxy, bucket: str, tmp_path: Path) -> None:
    store = Store(f"s3://{bucket}", cache_dir=tmp_path / "cache")
    ref = store.publish("model", make(tmp_path / "a", {"größe [1] 100%.bin": os.urandom(1000), "empty": b""}))
    store.verify(ref, deep=True)
    assert proxy.counts() == {"requests": proxy.counts()["requests"], "passed": proxy.counts()["requests"]}


def one_round(store: Store, number: int, folder: Path) -> ArtifactRef:
    """About twenty operations of every kind, as a stage does them; each is checked at once."""
    key = f"k{number}"
    work = store.work("grpo", key)
    with store.lease("grpo", key, owner=f"run-{number}") as lease:
        assert store.lookup("grpo", key) is None
        assert work.get_bytes("answers/0") is None
        work.put_json("answers/0", {"number": number})
        work.put_bytes("answers/1", b"1")
        assert work.names() == ["answers/0", "answers/1"]
        assert work.get_json("answers/0") == {"number": number}
        work.delete("answers/1")
        assert not work.exists("answers/1")
        work.put_tree("last", make(folder / "checkpoint", {"step": b"%d" % number, "sub/state": b"s"}))
        work.get_tree("last", folder / "resumed")
        assert (folder / "resumed" / "step").read_bytes() == b"%d" % number
        files = {"weights": b"%d" % number * 1000, "a/b.json": b"{}", "empty": b""}
        ref = store.publish("model", make(folder / "made", files))
        fetched = store.fetch(ref)
        assert {name: (fetched / name).read_bytes() for name in files} == files
        lease.check()
        store.record(IndexEntry(stage="grpo", key=key, outputs={"model": ref}))
        work.clear()
    assert store.objects.create(f"created/{number}", b"mine")
    assert not store.objects.create(f"created/{number}", b"yours")
    return ref


@pytest.mark.parametrize(
    ("rounds", "share"), [(12, 0.15), pytest.param(100, 0.2, marks=[pytest.mark.slow, pytest.mark.long])]
)
def test_hundreds_of_operations_through_many_faults_end_with_the_same_digests(
    proxy: FaultProxy,
    s3_server: S3Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rounds: int,
    share: float,
) -> None:
    store = Store(f"s3://{bucket}/p", cache_dir=tmp_path / "cache")
    proxy.share = share
    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(lambda number: one_round(store, number, tmp_path / str(number)), range(rounds)))
    orphan = store.publish("report", make(tmp_path / "orphan", {"a": b"referred to by nothing"}))
    assert [one.path for one in gc(store, grace_s=0, dry_run=False)] == [orphan.path]
    done = proxy.counts()
    assert sum(done.get(fault, 0) for fault in FAULTS) > 0.1 * done["requests"] > 2 * rounds, done
    assert set(FAULTS) <= done.keys()

    there = straight(store, s3_server, monkeypatch)
    plain = Store(str(tmp_path / "plain"))
    expected = [plain.publish("model", tmp_path / str(number) / "made") for number in range(rounds)]
    assert refs == expected
    report = verify_store(there)
    assert (report.ok, report.n_artifacts, report.n_entries) == (True, rounds, rounds)
    assert there.objects.walk("work") == []
    assert len(there.objects.walk("created")) == rounds


def test_large_files_survive_faults_in_every_request_of_theirs(
    small_parts: None,
    proxy: FaultProxy,
    s3_server: S3Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(f"s3://{bucket}/p", cache_dir=tmp_path / "cache")
    proxy.share = 0.2
    files = {"weights": os.urandom(31 * MIB), "optimizer": os.urandom(16 * MIB)}
    ref = store.publish("model", make(tmp_path / "made", files))
    fetched = store.fetch(ref)
    assert {name: (fetched / name).read_bytes() for name in files} == files
    straight(store, s3_server, monkeypatch).verify(ref, deep=True)
    done = proxy.counts()
    assert done["requests"] - done["passed"] >= 3, done


def lose_first_answer(proxy: FaultProxy, method: str, part_of_path: str) -> list[str]:
    """The server does the first such request, and its answer never arrives. Returns where those requests are noted."""
    seen: list[str] = []

    def rule(asked: str, path: str) -> str | None:
        if asked != method or part_of_path not in path:
            return None
        seen.append(path)
        return "drop after" if len(seen) == 1 else None

    proxy.rule = rule
    return seen


def test_a_finished_upload_whose_answer_is_lost_is_no_failure(
    small_parts: None, proxy: FaultProxy, bucket: str, tmp_path: Path
) -> None:
    store = Store(f"s3://{bucket}/p", cache_dir=tmp_path / "cache")
    seen = lose_first_answer(proxy, "POST", "uploadId=")
    ref = store.publish("model", make(tmp_path / "a", {"weights": os.urandom(11 * MIB)}))
    assert len(seen) > 1, "the request was made again"
    store.verify(ref, deep=True)


def test_a_created_object_whose_answer_is_lost_is_ours(proxy: FaultProxy, bucket: str) -> None:
    store = Store(f"s3://{bucket}/p")
    seen = lose_first_answer(proxy, "PUT", "/lease")
    assert store.objects.create("lease", b"mine")
    assert len(seen) > 1, "the request was made again"
    assert not store.objects.create("lease", b"yours")
    assert store.objects.read("lease") == b"mine"


def test_a_body_that_is_always_cut_off_is_never_taken_for_whole(
    proxy: FaultProxy, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    store = Store(f"s3://{bucket}/p", cache_dir=tmp_path / "cache")
    ref = store.publish("model", make(tmp_path / "a", {"weights": os.urandom(100_000)}))
    proxy.share, proxy.faults = 1.0, ("truncate",)
    for ask in (lambda: store.fetch(ref), lambda: store.objects.walk("artifacts")):
        with pytest.raises(StoreUnreachable, match=r"the connection to .* broke"):
            ask()


@pytest.mark.parametrize("fault", ["drop before", "503"])
def test_a_server_that_always_fails_is_unreachable_after_bounded_tries(
    proxy: FaultProxy, bucket: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    store = Store(f"s3://{bucket}/p")
    proxy.share, proxy.faults = 1.0, (fault,)
    with pytest.raises(StoreUnreachable, match=rf"writing s3://{bucket}/p/x failed: .*{proxy.url} .*run this again"):
        store.objects.write("x", b"")
    # Twice by botocore, and that twice; aiohttp itself repeats once what it sent on a connection that was closed.
    assert 4 <= proxy.counts()["requests"] <= 8
    assert StoreUnreachable.retryable and not StoreError.retryable
    with pytest.raises(StoreUnreachable):
        store.check_writable()


def test_the_proxy_runs_from_the_command_line(s3_server: S3Server) -> None:
    command = [sys.executable, "-m", "tests.tasks.fault_proxy", "--to", s3_server.url, "--share", "0"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        assert urllib.request.urlopen(f"{url}/healthz", timeout=10).status == 200
        child.send_signal(signal.SIGTERM)
        assert json.loads(child.stdout.readline()) == {"requests": 1, "passed": 1}
    assert child.returncode == 0
