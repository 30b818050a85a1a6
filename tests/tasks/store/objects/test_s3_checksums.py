"""S3 stores that lack the newer checksums, or want the older one: refused with the cure, and then used."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.load import load_settings
from models.errors import StoreError, StoreNotWritable
from tasks.pipeline.run import open_store
from tasks.store.artifacts import Store
from tasks.store.maintenance import gc, verify_store
from tasks.store.objects import s3 as objects_s3
from tasks.store.objects.s3_checksums import VARIABLE, checksum_hint
from tests.tasks.fault_proxy import FaultProxy
from tests.tasks.seaweed import S3Server

MIB = 1 << 20
Refusal = tuple[int, str, str] | None


@pytest.fixture
def proxy(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setattr(objects_s3, "PART_BYTES", 5 * MIB)
    with FaultProxy(s3_server.url, share=0.0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def knows_no_checksums(method: str, headers: dict[str, str]) -> Refusal:
    """As stores do that were written before them, to whatever header of theirs."""
    newer = ("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer")
    if any(name.startswith(newer) for name in headers):
        return 501, "NotImplemented", "A header you provided implies functionality that is not implemented"
    return None


def calls_it_invalid(method: str, headers: dict[str, str]) -> Refusal:
    return (
        (400, "InvalidRequest", "x-amz-sdk-checksum-algorithm is unknown")
        if knows_no_checksums(method, headers)
        else None
    )


def wants_md5(method: str, headers: dict[str, str]) -> Refusal:
    if method == "PUT" and "content-md5" not in headers:
        return 400, "MissingContentMD5", "Missing required header for this request: Content-MD5"
    return None


KINDS = [(knows_no_checksums, "none"), (calls_it_invalid, "none"), (wants_md5, "md5")]


@pytest.mark.parametrize(("refuse", "kind"), KINDS)
def test_a_store_that_refuses_what_is_sent_is_refused_with_the_cure_before_any_work(
    refuse: object, kind: str, proxy: FaultProxy, bucket: str
) -> None:
    proxy.refuse = refuse  # type: ignore[assignment]
    with pytest.raises(StoreNotWritable, match=rf"storage\.checksums={kind} \({VARIABLE}={kind}"):
        Store(f"s3://{bucket}").check_writable()
    assert proxy.counts()["refused"] == 1  # a refusal is final


@pytest.mark.parametrize(("refuse", "kind"), KINDS)
@pytest.mark.parametrize("by_setting", [True, False], ids=["setting", "environment"])
def test_with_the_setting_such_a_store_does_all_that_others_do(
    refuse: object, kind: str, by_setting: bool, proxy: FaultProxy, bucket: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    proxy.refuse = refuse  # type: ignore[assignment]
    root, cache = f"s3://{bucket}/store", str(tmp_path / "cache")
    if by_setting:
        sets = [f"storage.root={root}", f"storage.cache_dir={cache}", f"storage.checksums={kind}"]
        store = open_store(load_settings("shapes", sets))
    else:
        monkeypatch.setenv(VARIABLE, kind)
        store = Store(root, cache_dir=Path(cache))
    store.check_writable()
    files = {"small": b"x", "in parts": os.urandom(10 * MIB + 1), "empty": b""}
    (tmp_path / "made").mkdir()
    for name, data in files.items():
        (tmp_path / "made" / name).write_bytes(data)
    ref = store.publish("model", tmp_path / "made")
    assert {path.name: path.read_bytes() for path in store.fetch(ref).iterdir()} == files
    assert verify_store(store).ok
    with store.lease("grpo", "k", owner="run"):
        store.work("grpo", "k").put_json("a", 1)
    assert [removed.path for removed in gc(store, grace_s=0, dry_run=False) if removed.what == "artifact"] == [ref.path]
    assert "refused" not in proxy.counts()


def test_a_kind_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sha1")
    with pytest.raises(StoreError, match=r"'sha1': give one of crc32, md5, none"):
        Store("s3://bucket")


@pytest.mark.parametrize(
    ("code", "message", "kind", "told"),
    [
        ("NotImplemented", "A header you provided", "crc32", "storage.checksums=none"),
        ("NotImplemented", "A header you provided", "none", "If-None-Match"),
        ("InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD", "crc32", "storage.checksums=none"),
        ("InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required", "none", "storage.checksums=md5"),
        ("MissingContentMD5", "", "md5", ""),  # it was sent: their own words are all there is
        ("InvalidArgument", "the name is too long", "crc32", ""),
    ],
)
def test_the_cure_fits_what_was_sent(code: str, message: str, kind: str, told: str) -> None:
    said = checksum_hint(code, message, kind)
    assert told in said
    assert bool(told) == bool(said)
