"""Dynamic batching: callers share batches, wait in order, are refused when too many wait, and lose nothing."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from models.errors import Cancelled
from models.generation.batching import BatchingGenerator, NotGenerated, QueueFull
from models.generation.protocol import Generated, SamplingParams, Seed
from models.verdict.prompts import Message
from tests.generators import FakeStreamingGenerator, last_text


def conversation(text: str) -> list[Message]:
    return [{"role": "user", "content": [{"type": "text", "text": text}]}]


class Echo(FakeStreamingGenerator):
    """Says each conversation's text in capitals, a letter at a time; waits for `go` before each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()
        self.began = threading.Event()

    @property
    def batches(self) -> list[list[str]]:
        return [[last_text(one) for one in call.conversations] for call in self.calls]

    def generate(self, conversations: Sequence[list[Message]], *arguments: Any, **options: Any) -> Any:
        self.began.set()
        return super().generate(conversations, *arguments, **options)

    def answer(self, conversation: list[Message], sample: int) -> str:
        assert self.go.wait(10)
        if "bad" in self.batches[-1]:
            raise RuntimeError("a bad one")
        return last_text(conversation).upper()


@contextmanager
def batching(echo: Echo, **options: Any) -> Iterator[BatchingGenerator]:
    made = BatchingGenerator(echo, **{"batch": 4, "waiting": 16, **options})
    try:
        yield made
    finally:
        echo.go.set()
        made.close()


def ask(
    generator: BatchingGenerator, *texts: str, temperature: float = 0.0, seed: Seed = 0, **options: Any
) -> list[str]:
    params = SamplingParams(max_tokens=9, temperature=temperature, seed=seed)
    said = generator.generate([conversation(text) for text in texts], params, **options)
    return [samples[0].text for samples in said]


@contextmanager
def held(echo: Echo, generator: BatchingGenerator, pool: ThreadPoolExecutor) -> Iterator[None]:
    """While a first batch is being generated, so that what is asked meanwhile waits."""
    echo.go.clear()
    first = pool.submit(ask, generator, "first")
    assert echo.began.wait(10)
    yield
    echo.go.set()
    assert first.result(10) == ["FIRST"]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_callers_that_wait_are_generated_together_and_each_gets_its_own() -> None:
    echo = Echo()
    with batching(echo) as generator, ThreadPoolExecutor(8) as pool:
        with held(echo, generator, pool):
            asked = [pool.submit(ask, generator, text) for text in "abcde"]
            until(lambda: generator.waiting == 5)
        assert [one.result(10) for one in asked] == [["A"], ["B"], ["C"], ["D"], ["E"]]
    assert [len(batch) for batch in echo.batches] == [1, 4, 1]


def test_a_batch_has_one_kind_of_generation_and_the_oldest_goes_first() -> None:
    echo = Echo()
    with batching(echo) as generator, ThreadPoolExecutor(8) as pool:
        with held(echo, generator, pool):
            asked = []
            for text, temperature in (("a", 0.0), ("b", 1.0), ("c", 0.0)):
                asked.append(pool.submit(ask, generator, text, temperature=temperature))
                until(lambda: generator.waiting == len(asked))
        assert [one.result(10) for one in asked] == [["A"], ["B"], ["C"]]
    assert echo.batches == [["first"], ["a", "c"], ["b"]]
    assert [call.params.temperature for call in echo.calls] == [0.0, 0.0, 1.0]


def test_callers_with_other_seeds_share_a_batch_in_which_each_keeps_its_own() -> None:
    echo = Echo()
    with batching(echo) as generator, ThreadPoolExecutor(8) as pool:
        with held(echo, generator, pool):
            asked = [pool.submit(ask, generator, "a", seed=3, temperature=1.0)]
            until(lambda: generator.waiting == 1)
            asked.append(pool.submit(ask, generator, "b", "c", seed=[4, 5], temperature=1.0))
            until(lambda: generator.waiting == 3)
        assert [one.result(10) for one in asked] == [["A"], ["B", "C"]]
    assert echo.batches == [["first"], ["a", "b", "c"]]
    assert echo.calls[1].params.seed == [3, 4, 5]


def test_more_than_may_wait_are_refused_whole() -> None:
    echo = Echo()
    with batching(echo, waiting=3) as generator, ThreadPoolExecutor(8) as pool, held(echo, generator, pool):
        two = pool.submit(ask, generator, "a", "b")
        until(lambda: generator.waiting == 2)
        with pytest.raises(QueueFull, match="2 texts wait already, of 3"):
            ask(generator, "c", "d")
        one = pool.submit(ask, generator, "c")
        until(lambda: generator.waiting == 3)
        echo.go.set()
        assert (two.result(10), one.result(10)) == (["A", "B"], ["C"])


def test_what_was_cancelled_is_not_generated() -> None:
    echo, gone = Echo(), threading.Event()
    with batching(echo) as generator, ThreadPoolExecutor(8) as pool:
        with held(echo, generator, pool):
            left = pool.submit(ask, generator, "left", cancelled=gone)
            stays = pool.submit(ask, generator, "stays")
            until(lambda: generator.waiting == 2)
            gone.set()
        with pytest.raises(Cancelled):
            left.result(10)
        assert stays.result(10) == ["STAYS"]
    assert "left" not in [text for batch in echo.batches for text in batch]


def test_an_error_reaches_its_batch_alone() -> None:
    echo = Echo()
    with batching(echo) as generator:
        with pytest.raises(RuntimeError, match="a bad one"):
            ask(generator, "bad")
        assert ask(generator, "good") == ["GOOD"]


def test_closing_generates_what_waits_and_takes_nothing_more() -> None:
    echo = Echo()
    with batching(echo) as generator, ThreadPoolExecutor(8) as pool:
        with held(echo, generator, pool):
            waiting = pool.submit(ask, generator, "waits")
            until(lambda: generator.waiting == 1)
            closing = pool.submit(generator.close)
            until(lambda: generator._closed)
            with pytest.raises(Cancelled, match="ends"):
                ask(generator, "late")
        closing.result(10)
        assert waiting.result(10) == ["WAITS"]


def test_each_caller_hears_its_own_text_grow() -> None:
    echo = Echo()
    heard: dict[str, list[str]] = {"ab": [], "cd": []}

    def listen(generator: BatchingGenerator, text: str) -> None:
        ask(generator, text, on_text=lambda at, sample, piece: heard[text].append(piece))

    with batching(echo) as generator, ThreadPoolExecutor(8) as pool:
        with held(echo, generator, pool):
            asked = [pool.submit(listen, generator, text) for text in heard]
            until(lambda: generator.waiting == 2)
        for one in asked:
            one.result(10)
    assert heard == {"ab": ["A", "B"], "cd": ["C", "D"]}


def test_a_batch_that_nobody_waits_for_any_more_ends_while_it_is_written() -> None:
    echo, gone, heard = Echo(), threading.Event(), list[str]()

    def hear(_: int, __: int, letter: str) -> None:
        heard.append(letter)
        gone.set()

    with batching(echo) as generator:
        with pytest.raises(Cancelled, match="while it was written"):
            ask(generator, "long", cancelled=gone, on_text=hear)
        assert heard == ["L"]
        assert ask(generator, "next") == ["NEXT"]


def test_one_bad_member_of_a_batch_costs_itself_alone() -> None:
    echo = Echo()
    with batching(echo) as generator, ThreadPoolExecutor(8) as pool:
        with held(echo, generator, pool):
            asked = {text: pool.submit(ask, generator, text) for text in ("one", "bad", "two")}
            until(lambda: generator.waiting == 3)
        assert [asked[text].result(10) for text in ("one", "two")] == [["ONE"], ["TWO"]]
        with pytest.raises(RuntimeError, match="a bad one"):
            asked["bad"].result(10)


def test_a_conversation_that_the_model_cannot_take_is_told_to_its_caller_alone() -> None:
    class Choosy(Echo):
        def complete(self, conversation: list[Message], sample: int) -> Generated:
            done = super().complete(conversation, sample)
            return Generated("", truncated=False, refused="too thin") if done.text == "THIN" else done

    with batching(Choosy()) as generator:
        with pytest.raises(NotGenerated, match="too thin"):
            ask(generator, "thin")
        assert ask(generator, "wide") == ["WIDE"]
