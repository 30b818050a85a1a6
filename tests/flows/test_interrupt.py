"""Ctrl-C in the middle of a stage, and then two identical runs at once."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.tasks import small_recipe as small

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def started(*arguments: str, folder: Path) -> "subprocess.Popen[str]":
    """`thinkreward` in a process group of its own, as a terminal starts it."""
    return subprocess.Popen(
        small.command(*arguments, folder=folder), cwd=folder, env=small.environment(folder), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_ctrl_c_says_how_to_resume_and_then_one_of_two_runs_works_for_both(tmp_path: Path) -> None:
    small.run("prepare", folder=tmp_path)
    first = started("distill", folder=tmp_path)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "store" / "work" / "teacher").glob("*/blobs/answers/*"))) < 10:
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGINT)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 130, told
    assert "Traceback" not in told
    assert "Resume with" in told
    assert "distill" in told

    both = [started("distill", "--json", folder=tmp_path) for _ in range(2)]
    said = [json.loads(one.communicate(timeout=200)[0].strip().splitlines()[-1])["stages"][0] for one in both]
    assert sorted(one["state"] for one in said) == ["cached", "resumed"]
    assert said[0]["artifacts"] == said[1]["artifacts"]
