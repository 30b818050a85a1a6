"""The storage of deployments/compose.yaml as a process: its own command, on free ports of 127.0.0.1."""

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.stack.state import GRPC_ABOVE
from tests.deployments.commands import WEED
from tests.tasks.seaweed import die_with_the_parent, free_ports

READY = "/readyz"
STARTS_WITHIN_S = 60


@contextmanager
def serving(folder: Path, command: Sequence[str], identities: str) -> Iterator[tuple[str, int]]:
    """Runs it with its data below `folder`. Yields the address of the S3 gateway and the port of the master."""
    ports = dict(zip(("s3", "master", "volume", "filer"), free_ports(4), strict=True))
    (folder / "s3.json").write_text(identities)
    here = {
        "-dir=/data": f"-dir={folder}",
        "-s3.config=/etc/seaweedfs/s3.json": f"-s3.config={folder / 's3.json'}",
        "-s3.ip.bind=0.0.0.0": "-s3.ip.bind=127.0.0.1",
        "-s3.port=8333": f"-s3.localSocket={folder / 's3.sock'}",
    }
    started = [str(WEED), *(here.pop(argument, argument) for argument in command)]
    assert not here, f"the command has no {list(here)}"
    for name, port in ports.items():
        started += [f"-{name}.port={port}", f"-{name}.port.grpc={port + GRPC_ABOVE}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(started, stdout=log, stderr=log, preexec_fn=die_with_the_parent)
    try:
        url = f"http://127.0.0.1:{ports['s3']}"
        _wait_for(url + READY, process, folder / "log")
        yield url, ports["master"]
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"{url} does not answer: {log.read_text(errors='replace')[-2000:]}")
