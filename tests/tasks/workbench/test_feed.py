"""Progress as server-sent events over a real socket: results, problems, silence, and browsers that disconnect."""

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent

from models.errors import ConfigError
from tasks.workbench.feed import Emit, events
from tests.tasks.serving.running import listening

Work = Callable[[Emit, threading.Event], Any]


def app_of(work: Work) -> FastAPI:
    app = FastAPI()

    @app.post("/", response_class=EventSourceResponse)
    async def stream() -> AsyncIterator[ServerSentEvent]:
        async for event in events(work):
            yield event

    return app


def answer_to(work: Work) -> str:
    with listening(app_of(work)) as (_, url):
        return httpx.post(url, timeout=30).text


def test_events_are_json_on_one_line_and_the_result_is_the_last() -> None:
    def work(emit: Emit, cancelled: threading.Event) -> str:
        emit("text", [0, "two\nlines"])
        return "<b>é</b>"

    text = answer_to(work)
    assert text.split("\n\n")[0] == 'event: text\ndata: [0, "two\\nlines"]'
    assert text.split("\n\n")[1].startswith("event: done\ndata: ")


def test_an_error_of_ours_is_a_problem_and_others_are_not_shown() -> None:
    def refused(emit: Emit, cancelled: threading.Event) -> None:
        raise ConfigError("there is no such model")

    def broken(emit: Emit, cancelled: threading.Event) -> None:
        raise RuntimeError("a secret")

    assert answer_to(refused) == 'event: problem\ndata: "there is no such model"\n\n'
    assert "secret" not in answer_to(broken)


def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)

    def work(emit: Emit, cancelled: threading.Event) -> str:
        threading.Event().wait(0.5)
        return "late"

    blocks = answer_to(work).strip().split("\n\n")
    assert len(blocks) > 2
    assert all(block.startswith(":") for block in blocks[:-1])
    assert blocks[-1] == 'event: done\ndata: "late"'


def test_a_browser_that_disconnects_cancels_its_work() -> None:
    ended = threading.Event()

    def work(emit: Emit, cancelled: threading.Event) -> None:
        emit("note", "begun")
        if cancelled.wait(20):
            ended.set()

    with listening(app_of(work)) as (_, url):
        with httpx.stream("POST", url, timeout=30) as answer:
            assert next(answer.iter_lines()) == "event: note"
        assert ended.wait(15)
