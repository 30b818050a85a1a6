"""A training in processes of torchrun: the results of one process, reported once, whatever happens to a process."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from configs.schema import Distributed
from models.errors import ModelError, StageKilled
from tasks.training.start import TRAINING
from tests.tasks.training.plans import (
    OPTIMISING,
    TUNING,
    TWO,
    Reports,
    digest,
    distance,
    once,
    planned,
    trained,
    write_pairs,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
REPOSITORY = Path(__file__).resolve().parents[3]
ROUNDING = 1e-5  # of weights, which four steps at a rate of 1e-3 move by some 1e-3; 1.2e-7 was measured


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "preferences"
    write_pairs(folder, 8)
    return folder


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reports]:
    """The model that two processes make of eight pairs, and what they reported."""
    reports = Reports()
    plan = planned(data, tmp_path_factory.mktemp("undisturbed"), TWO, sft=TUNING)
    assert trained(plan, reports)["steps"] == 4
    return plan.out, reports


def workers(below: int | None = None) -> list[psutil.Process]:
    """The training's processes, started by this one or that."""
    found = []
    with suppress(psutil.Error):
        for one in psutil.Process(below).children(recursive=True):
            with suppress(psutil.Error):
                if "models.training.worker" in one.cmdline() and "tasks.training.agent" not in one.cmdline():
                    found.append(one)
    return found


def test_two_processes_make_the_model_of_one_but_for_rounding_and_report_once(
    data: Path, undisturbed: tuple[Path, Reports], tmp_path: Path
) -> None:
    made, reports = undisturbed
    alone, one = planned(data, tmp_path, sft=TUNING), Reports()
    trained(alone, one)
    assert distance(made, alone.out) < ROUNDING
    assert [step for step, values in reports.metrics if "loss" in values] == [1, 2, 3, 4]
    for name in ("loss", "grad_norm"):
        assert reports.figures(name) == pytest.approx(one.figures(name), rel=1e-5), name
    assert [step for step, _ in reports.checkpoints] == [2, 4]
    assert all({"model.safetensors", "optimizer.pt", "rng_state_0.pth", "rng_state_1.pth"} <= {*files}
               for _, files in reports.checkpoints)  # fmt: skip
    assert workers() == []


def test_a_step_that_an_epoch_leaves_short_is_that_of_one_process(data: Path, tmp_path: Path) -> None:
    """Seven pairs in steps of four: the second step has three, and no process fills it up with others."""
    one, two = planned(data, tmp_path / "one", sft=TUNING), planned(data, tmp_path / "two", TWO, sft=TUNING)
    for plan in (one, two):
        trained(plan, Reports(), 7)
    assert distance(two.out, one.out) < ROUNDING


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_costs_the_steps_since_the_last_checkpoint(
    data: Path, undisturbed: tuple[Path, Reports], tmp_path: Path, rank: int
) -> None:
    reports = Reports()
    plan = planned(data, tmp_path, TWO, sft=TUNING)

    def kill() -> None:
        workers()[rank].kill()

    with once(lambda: (tmp_path / "latest").is_file() and len(workers()) == 2, kill) as happened:
        trained(plan, reports)
    assert happened.is_set()
    assert any("resuming from checkpoint-" in line and "restart 1" in line for line in reports.lines)
    assert digest(plan.out) == digest(undisturbed[0])
    assert workers() == []


def test_a_training_whose_processes_keep_dying_ends_with_how_often_it_was_tried(data: Path, tmp_path: Path) -> None:
    plan = planned(data, tmp_path, Distributed(engine="torchrun", processes=2, restarts=0), sft=TUNING)
    with (
        once(lambda: len(workers()) == 2, lambda: workers()[1].kill()),
        pytest.raises(StageKilled, match=r"runtime\.distributed\.restarts"),
    ):
        trained(plan, Reports())
    assert workers() == []


def test_an_error_that_we_explain_ends_the_training_at_once_under_its_name(data: Path, tmp_path: Path) -> None:
    (tmp_path / "no_model").mkdir()
    reports = Reports()
    plan = planned(data, tmp_path / "run", TWO, sft=TUNING, source=tmp_path / "no_model")
    with pytest.raises(ModelError, match="has no processor"):
        trained(plan, reports)
    assert len(reports.lines) == 1, "it was started again"
    assert workers() == []


def test_no_process_outlives_the_stage(data: Path, tmp_path: Path) -> None:
    planned(data, tmp_path, TWO, sft=TUNING).write(tmp_path)
    program = (
        "from pathlib import Path; from models.training.worker.plan import TrainingPlan\n"
        "from tests.tasks.training.plans import Reports, trained\n"
        f"trained(TrainingPlan.read(Path({str(tmp_path)!r})), Reports())"
    )
    stage = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    while len(found := workers(stage.pid)) < 2:
        assert stage.poll() is None
        time.sleep(0.05)
    agents = [one for one in psutil.Process(stage.pid).children() if "tasks.training.agent" in one.cmdline()]
    assert agents
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    _, alive = psutil.wait_procs([*found, *agents], timeout=10)
    assert alive == []


def test_two_nodes_meet_and_make_the_model_of_two_processes(
    data: Path, undisturbed: tuple[Path, Reports], tmp_path: Path
) -> None:
    """Both here: one starts from the stage, the other is the program for further nodes, which finds the training."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"localhost:{free.getsockname()[1]}"
    wide = Distributed(engine="torchrun", nodes=2, processes=1, rendezvous=place)
    plan = planned(data, tmp_path / TRAINING / "cold-start-0", wide, sft=TUNING)
    further = subprocess.Popen(
        [
            *(sys.executable, "-m", "tasks.training.node", "--cache-dir", str(tmp_path), "--rendezvous", place),
            *("--nodes", "2", "--processes", "1", "--idle-s", "60"),
        ],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    try:
        trained(plan, Reports())
        assert digest(plan.out) == digest(undisturbed[0])
        assert further.wait(120) == 0
    finally:
        further.kill()


def test_policy_optimisation_by_two_processes_earns_and_learns_what_one_does(data: Path, tmp_path: Path) -> None:
    one, two = Reports(), Reports()
    first = trained(planned(data, tmp_path / "one", grpo=OPTIMISING), one)
    second = trained(planned(data, tmp_path / "two", TWO, grpo=OPTIMISING), two)
    for name in ("reward", "kl", "completions/mean_length", "validation/accuracy"):
        assert two.figures(name) == pytest.approx(one.figures(name), rel=1e-3, abs=1e-6), name
    assert two.figures("grad_norm") == pytest.approx(one.figures("grad_norm"), rel=1e-2, abs=1e-5)
    assert second["validation"] == first["validation"]
    assert [step for step, values in two.metrics if "validation/accuracy" in values] == [0, 1, 2, 3, 4]
    assert two.tables == one.tables
    assert [step for step, _ in two.checkpoints] == [1, 2, 3, 4]
