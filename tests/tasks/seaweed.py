"""A real S3 server for tests: SeaweedFS with authentication, on free ports of 127.0.0.1, killed with who started it.

    with serving(folder) as server:  # which has one bucket, named thinkreward
        os.environ.update(server.environment)

Tests take the fixtures `s3_server` (one server a session), `bucket` (an empty bucket, and the AWS_* variables set), or
`root` (a store's root, once on a file system and once in such a bucket).
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.stack.services import weed
from tasks.stack.state import GRPC_ABOVE

FIRST_BUCKET = "thinkreward"
_STARTS_WITHIN_S = 60.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class S3Server:
    """A running server: its address and the two pairs of credentials that it knows."""

    url: str
    admin: tuple[str, str] = ("admin-key", "admin-secret-7f3b")
    reader: tuple[str, str] = ("reader-key", "reader-secret-91cd")

    @property
    def environment(self) -> dict[str, str]:
        """The AWS_* variables of the admin."""
        return self.environment_of(self.admin)

    def environment_of(self, who: tuple[str, str]) -> dict[str, str]:
        """The AWS_* variables of one of the two users."""
        key, secret = who
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self) -> Any:
        """A boto3 client of the admin, for what a test does behind the store's back."""
        import boto3

        key, secret = self.admin
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
        )

    def make_bucket(self, name: str) -> str:
        """A new bucket. Returns its name."""
        self.client().create_bucket(Bucket=name)
        return name


@contextmanager
def serving(folder: Path) -> Iterator[S3Server]:
    """Runs a server that keeps everything below `folder`. Raises `RuntimeError` with its log if it does not start."""
    folder.mkdir(parents=True, exist_ok=True)
    s3, master, volume, filer = free_ports(4)
    server = S3Server(f"http://127.0.0.1:{s3}")
    (folder / "s3.json").write_text(json.dumps({"identities": _identities(server)}))
    (folder / "data").mkdir(exist_ok=True)
    command = [weed(), "-logtostderr", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    for name, port in (("s3", s3), ("master", master), ("volume", volume), ("filer", filer)):
        command += [f"-{name}.port={port}", f"-{name}.port.grpc={port + GRPC_ABOVE}"]
    command += ["-volume.max=0", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
    command += ["-s3", f"-s3.config={folder / 's3.json'}", f"-s3.localSocket={folder / 's3.sock'}"]
    # As at Amazon, where a bucket that is not there is an error for administrators too.
    command += ["-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, preexec_fn=die_with_the_parent)
    try:
        _wait_until_it_answers(server, process, folder / "weed.log")
        yield server
    finally:
        process.kill()
        process.wait()


def free_ports(n: int) -> list[int]:
    """Ports that are free, and whose gRPC ports are."""
    found: list[int] = []
    while len(found) < n:
        with closing(socket.socket()) as one, closing(socket.socket()) as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port + GRPC_ABOVE > 65_535 or port in found:
                continue
            try:
                other.bind(("127.0.0.1", port + GRPC_ABOVE))
            except OSError:
                continue
            found.append(port)
    return found


def _identities(server: S3Server) -> list[dict[str, object]]:
    def identity(name: str, pair: tuple[str, str], actions: list[str]) -> dict[str, object]:
        return {"name": name, "credentials": [{"accessKey": pair[0], "secretKey": pair[1]}], "actions": actions}

    return [
        identity("admin", server.admin, ["Admin", "Read", "Write", "List", "Tagging"]),
        identity("reader", server.reader, ["Read", "List"]),
    ]


def die_with_the_parent() -> None:
    ctypes.CDLL("libc.so.6").prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_until_it_answers(server: S3Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    client = server.client()
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{server.url}/healthz", timeout=5)
            with suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=FIRST_BUCKET)
            # Answering is not yet storing: the volume server registers a moment later.
            client.put_object(Bucket=FIRST_BUCKET, Key="probe", Body=b"x")
            client.delete_object(Bucket=FIRST_BUCKET, Key="probe")
            return
        except (OSError, BotoCoreError, ClientError):
            time.sleep(0.1)
    raise RuntimeError(f"weed did not start:\n{log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the whole session: it takes 4 s to start. Give each test a bucket of its own."""
    with serving(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, and the environment of who may do anything with it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server.make_bucket(f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The root of an empty store, on a file system and then on S3, for tests of what holds on both."""
    return f"s3://{request.getfixturevalue('bucket')}/store" if request.param == "s3" else str(tmp_path / "store")
