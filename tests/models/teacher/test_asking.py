"""The teacher's client against real servers on the loopback: the embedded teacher, and scripted odd ones."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from models.errors import TeacherRefused, TeacherUnreachable
from models.generation.endpoint_address import Endpoint
from models.generation.limits import Limits, Pace
from models.generation.openai_client import retry_after
from models.media.frames import data_url
from models.pairs.preference import Task
from models.shapes.pairs import MadePair, make_pair
from models.shapes.teacher_answers import Faults
from models.shapes.teacher_server import TeacherServer
from models.teacher.asking import AskResult, ask_all
from models.teacher.session import PROBES
from models.training.selection import rejection
from models.verdict.prompts import Message, attach, chat, data_url_part

KEY = "sk-very-secret-0123456789"
Reply = tuple[int, dict[str, str], Any]


class Memory:
    """An answer store in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}

    def get(self, digest: str) -> dict[str, Any] | None:
        value = self.kept.get(digest)
        return None if value is None else json.loads(json.dumps(value))

    def put(self, digest: str, value: dict[str, Any]) -> None:
        self.kept[digest] = value


class Killed(Exception):
    """Stands for the end of the process."""


class Dying(Memory):
    """A store whose process dies when the answer number `last` has been written."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.left = last

    def put(self, digest: str, value: dict[str, Any]) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().put(digest, value)


def completion(text: str = "fine", prompt_tokens: int = 100, completion_tokens: int = 10) -> dict[str, Any]:
    return {
        "id": "c", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": 0},
    }  # fmt: skip


class Scripted:
    """A server whose every reply `script(number, body)` decides; `seen` holds when each request came and its body."""

    def __init__(self, script: Callable[[int, dict[str, Any]], Reply]) -> None:
        self.seen: list[tuple[float, dict[str, Any]]] = []
        self.under_way = self.most_under_way = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: object) -> None: ...

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.seen.append((time.monotonic(), body))
                    number = len(outer.seen)
                    outer.under_way += 1
                    outer.most_under_way = max(outer.most_under_way, outer.under_way)
                status, headers, reply = script(number, body)
                with lock:
                    outer.under_way -= 1
                data = json.dumps(reply).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"http://127.0.0.1:{self.server.server_port}/v1", KEY, "m")


@contextmanager
def scripted(script: Callable[[int, dict[str, Any]], Reply]) -> Iterator[Scripted]:
    running = Scripted(script)
    threading.Thread(target=running.server.serve_forever, args=(0.02,), daemon=True).start()
    yield running
    running.server.shutdown()
    running.server.server_close()


def error(message: str, code: str = "") -> dict[str, Any]:
    return {"error": {"message": message, "code": code, "type": code, "param": None}}


def texts(count: int) -> list[list[Message]]:
    return [[{"role": "user", "content": [{"type": "text", "text": f"question {n}"}]}] for n in range(count)]


def quick(**changed: Any) -> Limits:
    return Limits(**({"backoff_s": 0.01, "max_attempts": 3, "batch_poll_s": 0.01, "timeout_s": 10} | changed))


def answers(asked: AskResult) -> list[str | None]:
    return [one.text for one in asked.answers]


def test_answers_come_in_the_order_of_the_requests() -> None:
    def echo(number: int, body: dict[str, Any]) -> Reply:
        time.sleep(0.02 * (number % 3))
        return 200, {}, completion(body["messages"][0]["content"][0]["text"].upper())

    heard: list[tuple[int, int]] = []
    with scripted(echo) as server:
        asked = ask_all(
            texts(10), endpoint=server.endpoint, limits=quick(), store=Memory(),
            on_answer=lambda done, total: heard.append((done, total)),
        )  # fmt: skip
    assert answers(asked) == [f"QUESTION {n}" for n in range(10)]
    assert heard == [(n, 10) for n in range(1, 11)]
    assert (asked.usage.requests, asked.usage.prompt_tokens, asked.stopped) == (10, 1000, None)


def test_the_cost_is_counted_from_the_endpoints_own_token_counts() -> None:
    with scripted(lambda number, body: (200, {}, completion())) as server:
        limits = quick(usd_per_million_input=10, usd_per_million_output=100)
        usage = ask_all(texts(4), endpoint=server.endpoint, limits=limits, store=Memory()).usage
    assert usage.cost_usd == pytest.approx(4 * (100 * 10 + 10 * 100) / 1e6)


def test_no_more_requests_are_under_way_than_allowed() -> None:
    def slow(number: int, body: dict[str, Any]) -> Reply:
        time.sleep(0.05)
        return 200, {}, completion()

    with scripted(slow) as server:
        ask_all(texts(12), endpoint=server.endpoint, limits=quick(concurrency=3), store=Memory())
    assert server.most_under_way == 3


def test_retry_after_is_honoured() -> None:
    def limited_once(number: int, body: dict[str, Any]) -> Reply:
        return (429, {"Retry-After": "0.5"}, error("slow down")) if number == 1 else (200, {}, completion())

    with scripted(limited_once) as server:
        asked = ask_all(texts(1), endpoint=server.endpoint, limits=quick(), store=Memory())
    first, second = (when for when, _ in server.seen)
    assert second - first >= 0.5
    assert asked.usage.retries == 1


def test_retry_after_is_read_as_seconds_milliseconds_or_a_date() -> None:
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert retry_after({"retry-after-ms": "250"}) == 0.25
    assert 55 < (retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) or 0) <= 60
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def test_endless_429_ends_after_the_bounded_tries() -> None:
    with (
        scripted(lambda number, body: (429, {}, error("slow down"))) as server,
        pytest.raises(TeacherUnreachable, match=r"3 tries .*429 .*start again"),
    ):
        ask_all(texts(5), endpoint=server.endpoint, limits=quick(), store=Memory())
    assert len(server.seen) == 3


def test_a_wait_beyond_the_limit_is_not_waited_for() -> None:
    with (
        scripted(lambda number, body: (429, {"Retry-After": "7200"}, error("tomorrow"))) as server,
        pytest.raises(TeacherUnreachable, match="asking to wait 7200 s"),
    ):
        ask_all(texts(1), endpoint=server.endpoint, limits=quick(), store=Memory())
    assert len(server.seen) == 1


def test_no_connection_is_named_after_the_bounded_tries() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        endpoint = Endpoint(f"http://127.0.0.1:{reserved.getsockname()[1]}/v1", KEY, "m")
        with pytest.raises(TeacherUnreachable, match="no connection"):
            ask_all(texts(2), endpoint=endpoint, limits=quick(), store=Memory())


def test_a_silent_server_runs_into_the_timeout() -> None:
    def silent(number: int, body: dict[str, Any]) -> Reply:
        time.sleep(1)
        return 200, {}, completion()

    with scripted(silent) as server, pytest.raises(TeacherUnreachable, match=r"no answer within 0\.1 s"):
        ask_all(texts(1), endpoint=server.endpoint, limits=quick(timeout_s=0.1, max_attempts=2), store=Memory())


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_costs_one_request_and_is_never_shown(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        scripted(lambda number, body: (status, {}, error(f"wrong key {KEY}"))) as server,
        pytest.raises(TeacherRefused, match="OPENAI_API_KEY") as raised,
    ):
        ask_all(texts(8), endpoint=server.endpoint, limits=quick(), store=Memory())
    assert len(server.seen) == 1
    assert KEY not in str(raised.value) + repr(server.endpoint) + caplog.text


def test_a_key_echoed_in_other_errors_is_taken_out() -> None:
    with (
        scripted(lambda number, body: (500, {}, error(f"cannot use {KEY}"))) as server,
        pytest.raises(TeacherUnreachable) as raised,
    ):
        ask_all(texts(1), endpoint=server.endpoint, limits=quick(), store=Memory())
    assert KEY not in str(raised.value)


def test_an_unknown_model_is_refused_at_once() -> None:
    with TeacherServer() as teacher, pytest.raises(TeacherRefused, match="no model 'other'"):
        ask_all(texts(3), endpoint=Endpoint(teacher.base_url, teacher.api_key, "other"), limits=quick(), store=Memory())


def test_an_exhausted_quota_is_not_retried() -> None:
    with (
        scripted(lambda number, body: (429, {}, error("no credit", "insufficient_quota"))) as server,
        pytest.raises(TeacherRefused, match="quota"),
    ):
        ask_all(texts(3), endpoint=server.endpoint, limits=quick(), store=Memory())
    assert len(server.seen) == 1


def test_an_address_that_is_no_api_is_refused() -> None:
    with (
        scripted(lambda number, body: (200, {"Content-Type": "text/html"}, "<html>welcome</html>")) as server,
        pytest.raises(TeacherRefused, match="/v1"),
    ):
        ask_all(texts(1), endpoint=server.endpoint, limits=quick(), store=Memory())


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(TeacherRefused, match="OPENAI_API_KEY is not set"):
        Endpoint.from_environment("m")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://here:1/v1")
    assert Endpoint.from_environment("m") == Endpoint("http://here:1/v1", KEY, "m")


def test_a_single_rejected_request_goes_unanswered_and_the_others_go_on() -> None:
    def picky(number: int, body: dict[str, Any]) -> Reply:
        bad = body["messages"][0]["content"][0]["text"] == "question 2"
        return (400, {}, error("image too large")) if bad else (200, {}, completion())

    with scripted(picky) as server:
        asked = ask_all(texts(4), endpoint=server.endpoint, limits=quick(), store=Memory())
    assert answers(asked) == ["fine", "fine", None, "fine"]


def test_a_first_request_that_is_rejected_alone_stops_nothing() -> None:
    def picky(number: int, body: dict[str, Any]) -> Reply:
        bad = body["messages"][0]["content"][0]["text"] == "question 0"
        return (400, {}, error("content policy")) if bad else (200, {}, completion())

    with scripted(picky) as server:
        asked = ask_all(texts(5), endpoint=server.endpoint, limits=quick(), store=Memory())
    assert answers(asked) == [None, "fine", "fine", "fine", "fine"]


def test_first_requests_that_are_all_rejected_stop_everything_with_the_reason() -> None:
    with (
        scripted(lambda number, body: (400, {}, error("temperature is not supported"))) as server,
        pytest.raises(TeacherRefused, match="temperature is not supported"),
    ):
        ask_all(texts(9), endpoint=server.endpoint, limits=quick(), store=Memory())
    assert len(server.seen) == PROBES + 1  # once without the temperature, which did not help


def test_a_model_that_wants_max_completion_tokens_gets_it() -> None:
    def newer(number: int, body: dict[str, Any]) -> Reply:
        if "max_tokens" in body:
            return 400, {}, error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return 200, {}, completion()

    with scripted(newer) as server:
        asked = ask_all(texts(3), endpoint=server.endpoint, limits=quick(), store=Memory())
    assert answers(asked) == ["fine"] * 3
    assert len(server.seen) == 4


def without_temperature(number: int, body: dict[str, Any]) -> Reply:
    """As OpenAI's reasoning models answer."""
    if "max_tokens" in body:
        return 400, {}, error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    if "temperature" in body:
        return (
            400,
            {},
            error("Unsupported value: 'temperature' does not support 0.7 with this model.", "unsupported_value"),
        )
    return 200, {}, completion()


def test_a_temperature_that_is_refused_is_left_out_from_the_first_refusal_on_and_told() -> None:
    with scripted(without_temperature) as server:
        asked = ask_all(texts(3), endpoint=server.endpoint, limits=quick(), store=Memory())
    assert answers(asked) == ["fine"] * 3
    assert len(server.seen) == 5
    assert asked.fields["sent"] == ["max_completion_tokens"]
    assert "does not support 0.7" in asked.fields["refused"]["temperature"]


def test_a_batch_is_sent_again_without_what_the_endpoint_refuses() -> None:
    _, requests = judging(3)
    with TeacherServer() as teacher:
        whole = teacher.complete

        def picky(body: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
            if "temperature" in body:
                return 400, error("Unsupported value: 'temperature' does not support 0.7"), {}
            return whole(body)

        teacher.complete = picky  # type: ignore[method-assign]
        endpoint = Endpoint(teacher.base_url, teacher.api_key, teacher.model)
        asked = ask_all(requests, endpoint=endpoint, limits=quick(), store=Memory(), mode="batch")
        assert len(teacher.jobs) == 2
    assert all(answers(asked))
    assert list(asked.fields["refused"]) == ["temperature"]
    assert asked.fields["sent"] == ["max_tokens"]


def test_malformed_answers_are_asked_for_again_and_no_more_than_allowed() -> None:
    def learns(number: int, body: dict[str, Any]) -> Reply:
        text = body["messages"][0]["content"][0]["text"]
        return 200, {}, completion("good" if text == "question 0" or body.get("seed") == 2 else "bad")

    with scripted(learns) as server:
        limits = quick(max_reasks=2)
        asked = ask_all(texts(2), endpoint=server.endpoint, limits=limits, store=Memory(),
                        acceptable=lambda index, text: text == "good")  # fmt: skip
        never = ask_all(texts(2), endpoint=server.endpoint, limits=quick(max_reasks=1), store=Memory(),
                        acceptable=lambda index, text: False)  # fmt: skip
    assert [one.texts for one in asked.answers] == [("good",), ("bad", "bad", "good")]
    assert [len(one.texts) for one in never.answers] == [2, 2]


@pytest.mark.parametrize("concurrency", [1, 7])
def test_max_requests_is_exact_and_the_same_at_any_concurrency(concurrency: int) -> None:
    with scripted(lambda number, body: (200, {}, completion("bad" if number % 2 else "good"))) as server:
        limits = quick(max_requests=13, concurrency=concurrency)
        asked = ask_all(texts(20), endpoint=server.endpoint, limits=limits, store=Memory())
    assert len(server.seen) == asked.usage.requests == 13
    assert answers(asked)[:13].count(None) == 0 and answers(asked)[13:] == [None] * 7
    assert asked.stopped is not None and asked.stopped.startswith("budget: max_requests 13")


@pytest.mark.parametrize("concurrency", [1, 16])
def test_max_cost_is_never_passed_and_stops_at_the_same_request(concurrency: int) -> None:
    """An answer costs 2 cents, at worst 2.25 by the headroom on its prompt: with 25 cents, 12 are admitted."""
    with scripted(lambda number, body: (200, {}, completion("fine", 1000, 1000))) as server:
        limits = quick(max_cost_usd=0.25, usd_per_million_input=10, usd_per_million_output=10, max_tokens=1000,
                       concurrency=concurrency)  # fmt: skip
        asked = ask_all(texts(40), endpoint=server.endpoint, limits=limits, store=Memory())
    assert asked.usage.cost_usd <= 0.25
    assert len(server.seen) == 12
    assert asked.stopped is not None and "max_cost_usd 0.25" in asked.stopped


def test_a_restart_pays_nothing_twice_and_its_budget_counts_what_was_paid() -> None:
    store = Dying(last=5)
    with scripted(lambda number, body: (200, {}, completion())) as server:
        limits = quick(concurrency=1, max_requests=8)
        with pytest.raises(Killed):
            ask_all(texts(10), endpoint=server.endpoint, limits=limits, store=store)
        store.left = 100
        before = len(server.seen)
        asked = ask_all(texts(10), endpoint=server.endpoint, limits=limits, store=store)
        again = ask_all(texts(10), endpoint=server.endpoint, limits=limits, store=store)
    assert (asked.usage.cached, asked.usage.requests) == (5, 3)
    assert len(server.seen) == before + 3
    assert (again.usage.cached, again.usage.requests, answers(again)) == (8, 0, answers(asked))


def test_equal_requests_are_paid_for_once() -> None:
    with scripted(lambda number, body: (200, {}, completion(str(number)))) as server:
        asked = ask_all(texts(1) * 6, endpoint=server.endpoint, limits=quick(), store=Memory())
    assert len(server.seen) == 1
    assert answers(asked) == ["1"] * 6


def test_answers_under_way_are_kept_when_another_request_fails() -> None:
    def fails_later(number: int, body: dict[str, Any]) -> Reply:
        text = body["messages"][0]["content"][0]["text"]
        if text == "question 1":
            return 401, {}, error("revoked")
        time.sleep(0.2)
        return 200, {}, completion()

    store = Memory()
    with scripted(fails_later) as server, pytest.raises(TeacherRefused):
        ask_all(texts(4), endpoint=server.endpoint, limits=quick(concurrency=4), store=store)
    assert len(store.kept) == len(server.seen) - 1 >= 1


def test_the_pace_spaces_requests_evenly() -> None:
    async def timed() -> float:
        pace, start = Pace(per_minute=1200), time.monotonic()
        await asyncio.gather(*(pace.wait() for _ in range(5)))
        return time.monotonic() - start

    assert 0.19 <= asyncio.run(timed()) < 1


def test_the_token_limit_slows_requests_down() -> None:
    with scripted(lambda number, body: (200, {}, completion())) as server:
        limits = quick(tokens_per_minute=120_000, max_tokens=100)
        ask_all(texts(5), endpoint=server.endpoint, limits=limits, store=Memory())
    times = [when for when, _ in server.seen]
    assert times[-1] - times[0] >= 0.19


def judging(count: int) -> tuple[list[MadePair], list[list[Message]]]:
    made = [make_pair(Task.IMAGE_GENERATION, n, seed=8, held_out=False) for n in range(count)]
    frames = {uri: shown for one in made for uri, shown in one.frames.items()}
    return made, [
        attach(chat(one.pair, "think"), lambda uri: [data_url_part(data_url(f)) for f in frames[uri]]) for one in made
    ]


def test_the_embedded_teacher_gives_the_same_answers_at_any_concurrency_and_in_batches() -> None:
    made, requests = judging(16)
    faults = Faults(wrong_perception=0.2, broken_grammar=0.2, rate_limited=0.2, server_error=0.1)
    results = []
    for mode, concurrency in (("online", 1), ("online", 8), ("batch", 8)):
        with TeacherServer(faults, seed=2, retry_after_s=(0.01, 0.02)) as teacher:
            asked = ask_all(
                requests, endpoint=Endpoint(teacher.base_url, teacher.api_key, teacher.model),
                limits=quick(concurrency=concurrency, max_attempts=12), store=Memory(),
                acceptable=lambda index, text: rejection(text, made[index].pair) is None,
                mode="batch" if mode == "batch" else "online",
            )  # fmt: skip
            assert max(teacher.answered.values()) == 1
        results.append([one.texts for one in asked.answers])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("last", [0, 1, 2, 3, 6])
def test_a_batch_is_collected_after_a_restart_rather_than_sent_again(last: int) -> None:
    """The process dies before the batch, between its creation and its journal entry, and while it is collected."""
    _, requests = judging(5)
    store = Dying(last)
    with TeacherServer(batch_polls=2) as teacher:
        endpoint = Endpoint(teacher.base_url, teacher.api_key, teacher.model)
        with pytest.raises(Killed):
            ask_all(requests, endpoint=endpoint, limits=quick(), store=store, mode="batch")
        store.left = 1000
        asked = ask_all(requests, endpoint=endpoint, limits=quick(), store=store, mode="batch")
        assert len(teacher.jobs) == 1
        assert max(teacher.answered.values()) == 1
    assert all(one.text for one in asked.answers)


def test_a_batch_that_the_endpoint_lost_is_sent_again() -> None:
    _, requests = judging(2)
    store = Memory()
    store.put("batches", {"batches": [{"token": "t", "id": "batch_99"}]})
    with TeacherServer() as teacher:
        endpoint = Endpoint(teacher.base_url, teacher.api_key, teacher.model)
        asked = ask_all(requests, endpoint=endpoint, limits=quick(), store=store, mode="batch")
    assert all(one.text for one in asked.answers)


def test_a_budget_bounds_batches_too() -> None:
    _, requests = judging(6)
    with TeacherServer() as teacher:
        endpoint = Endpoint(teacher.base_url, teacher.api_key, teacher.model)
        asked = ask_all(requests, endpoint=endpoint, limits=quick(max_requests=4), store=Memory(), mode="batch")
        assert teacher.served["answered"] == 4
    assert asked.stopped is not None and answers(asked)[4:] == [None, None]
