"""`kill -9` in the middle of each stage: started again, it ends with the digests of an undisturbed run."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.killing import Reached, answers, checkpoint_begun, shards
from tests.tasks import small_recipe as small

pytestmark = [pytest.mark.slow, pytest.mark.crash, pytest.mark.timeout(900)]
STAGES = ("prepare", "distill", "cold-start", "rejection-sampling", "grpo")
SHARDS = shards(2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, str]]]:
    """A store with the five stages, and each one's digests."""
    folder = tmp_path_factory.mktemp("undisturbed")
    said = small.run_json("run", *STAGES, folder=folder)
    return folder, {stage["name"]: stage["artifacts"] for stage in said["stages"]}


@pytest.mark.parametrize(
    ("stage", "reached"),
    [
        ("distill", answers(10)),
        ("distill", answers(60)),
        ("cold-start", checkpoint_begun(6)),
        ("cold-start", checkpoint_begun(18)),
        ("rejection-sampling", SHARDS),
        ("rejection-sampling", checkpoint_begun(2)),
        ("grpo", checkpoint_begun(2)),
        ("grpo", checkpoint_begun(4)),
    ],
    ids=[
        "distill-early",
        "distill-late",
        "cold-start-6",
        "cold-start-18",
        "sampling-shards",
        "sampling-sft",
        "grpo-2",
        "grpo-4",
    ],
)
def test_a_killed_stage_resumes_to_the_same_digests(
    stage: str,
    reached: Reached,
    undisturbed: tuple[Path, dict[str, dict[str, str]]],
    tmp_path: Path,
) -> None:
    whole, digests = undisturbed
    folder = tmp_path / "killed"
    folder.mkdir()
    shutil.copytree(whole / "store", folder / "store")
    shutil.rmtree(folder / "store" / "index" / stage)
    if stage == "rejection-sampling" and reached is SHARDS:
        shutil.rmtree(folder / "store" / "index" / "sampling")
    if stage == "distill":  # the answers outlive the stage
        shutil.rmtree(folder / "store" / "work" / "teacher")
    kill_when(lambda: reached(folder / "store" / "work" / stage), stage, folder)
    said = small.run_json(stage, folder=folder)
    assert small.states(said) == {stage: "resumed"}
    assert said["stages"][0]["artifacts"] == digests[stage]


def kill_when(reached: Callable[[], bool], stage: str, folder: Path) -> None:
    """Start a stage, and kill it and its child as soon as `reached` says so."""
    process = subprocess.Popen(
        small.command(stage, folder=folder), cwd=folder, env=small.environment(folder), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not reached():
        assert process.poll() is None, "the stage ended before it could be killed: make it longer"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
