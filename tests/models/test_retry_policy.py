"""What is called again, how often and after which pauses; with pauses that are recorded instead of slept."""

import time

import pytest

from models.retry_policy import DOUBLINGS, RetryPolicy


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were slept."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


class Flaky:
    """Fails so often, then answers."""

    def __init__(self, failures: int, error: BaseException) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "answer"


def is_lost(error: BaseException) -> bool:
    return isinstance(error, ConnectionError)


def test_what_answers_is_called_once_and_nothing_waits(slept: list[float]) -> None:
    action = Flaky(0, ConnectionError())
    assert RetryPolicy(5, 1.0).call(action, is_lost) == "answer"
    assert (action.calls, slept) == (1, [])


def test_pauses_double_and_are_announced_with_the_error(slept: list[float]) -> None:
    error = ConnectionError("reset")
    announced: list[tuple[BaseException, float]] = []
    action = Flaky(3, error)
    answer = RetryPolicy(5, 0.5).call(action, is_lost, lambda error, pause_s: announced.append((error, pause_s)))
    assert (answer, action.calls) == ("answer", 4)
    assert slept == [0.5, 1.0, 2.0]
    assert announced == [(error, 0.5), (error, 1.0), (error, 2.0)]


def test_the_last_error_is_raised_as_it_is(slept: list[float]) -> None:
    error = ConnectionError("reset")
    action = Flaky(9, error)
    with pytest.raises(ConnectionError) as raised:
        RetryPolicy(3, 1.0).call(action, is_lost)
    assert raised.value is error
    assert (action.calls, slept) == (3, [1.0, 2.0])


@pytest.mark.parametrize("error", [ValueError("no number"), KeyboardInterrupt(), SystemExit(3)])
def test_what_no_attempt_mends_is_called_once(error: BaseException, slept: list[float]) -> None:
    action = Flaky(9, error)
    with pytest.raises(type(error)):
        RetryPolicy(3, 1.0).call(action, is_lost)
    assert (action.calls, slept) == (1, [])


def test_nothing_is_begun_after_the_budget() -> None:
    action = Flaky(1000, ConnectionError())
    began = time.monotonic()
    with pytest.raises(ConnectionError):
        RetryPolicy(1000, 0.05, budget_s=0.3).call(action, is_lost)
    assert 2 <= action.calls <= 5
    assert time.monotonic() - began < 5


def test_jitter_only_shortens_a_pause(slept: list[float]) -> None:
    for _ in range(50):
        RetryPolicy(2, 1.0, jitter=0.5).call(Flaky(1, ConnectionError()), is_lost)
    assert all(0.5 <= pause <= 1.0 for pause in slept)
    assert len(set(slept)) > 10


def test_pauses_grow_no_further_than_a_number_of_doublings(slept: list[float]) -> None:
    with pytest.raises(ConnectionError):
        RetryPolicy(DOUBLINGS + 4, 1.0).call(Flaky(99, ConnectionError()), is_lost)
    assert slept[-3:] == [2.0**DOUBLINGS] * 3
    assert RetryPolicy(DOUBLINGS + 4, 1.0).pauses() == slept[:-2]
    assert RetryPolicy(1, 1.0).pauses() == []
