"""What a failed request to a real S3 server means, and what to do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import StoreError, StoreNotWritable, StoreUnreachable
from tasks.store.artifacts import Store
from tests.tasks.seaweed import S3Server, free_ports
from tests.tasks.store.folders import files_in, publish

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture
def store(bucket: str, tmp_path: Path) -> Store:
    return Store(f"s3://{bucket}/team/store", cache_dir=tmp_path / "cache")


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
