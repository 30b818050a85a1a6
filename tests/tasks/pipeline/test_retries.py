"""What is retried, and what is not: in real flow runs, counted."""

from collections.abc import Iterator

import pytest
from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness

from configs.load import load_settings
from models import errors
from tasks.pipeline.retries import with_retries


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


def tries(error: Exception, retries: int) -> int:
    """How often a task that always raises `error` is tried."""
    settings = load_settings("shapes", [f"runtime.retries={retries}", "runtime.retry_delay_s=0.01"])
    tried: list[int] = []

    @task
    def fails() -> None:
        tried.append(1)
        raise error

    @flow
    def once() -> None:
        with_retries(fails, settings)()

    once(return_state=True)
    return len(tried)


@pytest.mark.parametrize(
    "error",
    [
        errors.StoreUnreachable("the storage is away"),
        errors.TrackingUnreachable("MLflow is away"),
        errors.TeacherUnreachable("503 six times"),
        errors.StageKilled("preempted"),
        errors.LeaseLost("silent too long"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_transient_errors_are_retried(error: Exception) -> None:
    assert tries(error, retries=2) == 3


@pytest.mark.parametrize(
    "error",
    [
        errors.ConfigError("out of range"),
        errors.DataError("one class of answers"),
        errors.OutOfMemory("lower grpo.micro_batch"),
        errors.TeacherRefused("no such key"),
        errors.BudgetReached("50 dollars"),
        errors.ArtifactCorrupt("another digest"),
        errors.StoreError("access denied"),
        errors.UpstreamMissing("run distill first"),
        RuntimeError("a fault of ours"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_are_not_retried(error: Exception) -> None:
    assert tries(error, retries=2) == 1


def test_no_retries_are_no_retries() -> None:
    assert tries(errors.StageKilled("preempted"), retries=0) == 1
