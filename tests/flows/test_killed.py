"""`kill -9` of the command line alone: nothing that it started lives on, whatever it was about to do."""

import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.tasks import small_recipe as small

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SERVER = "server"  # Prefect's, by us or by itself
STAGE = "tasks.pipeline.child"


@pytest.mark.parametrize("seen", [(SERVER,), (SERVER, STAGE)], ids=["when-the-server-starts", "amid-a-stage"])
def test_nothing_outlives_a_killed_run(seen: tuple[str, ...], tmp_path: Path) -> None:
    run = subprocess.Popen(
        small.command("prepare", folder=tmp_path), cwd=tmp_path, env=small.environment(tmp_path),
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not all(any(what in words for words in started(run).values()) for what in seen):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    below = list(started(run))
    run.kill()
    run.wait()
    _, left = psutil.wait_procs(below, timeout=15)
    words = [one.cmdline() for one in left]
    for one in left:
        one.kill()
    assert not words


def started(run: "subprocess.Popen[bytes]") -> dict[psutil.Process, str]:
    """The processes below a run, with their command lines."""
    found = {}
    for process in psutil.Process(run.pid).children(recursive=True):
        with suppress(psutil.Error):
            found[process] = " ".join(process.cmdline())
    return found
