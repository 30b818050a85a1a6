"""Asking a teacher for many answers: each is stored as it arrives, so that none is ever paid for twice.

Requests are admitted in their order, first asks before further asks, against one budget that also counts
what an interrupted call paid for: the same requests give the same answers, however often it was interrupted.
Until one is answered requests go one by one, so that a refused key costs one request and the budget learns a prompt's
size; when each of the first few is rejected, asking ends, since all would be.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from models.generation.endpoint_address import Endpoint
from models.generation.limits import Limits, Usage
from models.generation.openai_client import Connection
from models.teacher.batch import ask_in_batches
from models.teacher.session import Answers, AnswerStore, Session
from models.verdict.prompts import Message


@dataclass(frozen=True)
class AskResult:
    """What asking gave: answers in the requests' order, what they cost, and why asking stopped early, if it did.

    `fields` names those that were sent and those that the endpoint refused
    (`models.generation.endpoint_fields.Learned.as_dict`).
    """

    answers: list[Answers]
    usage: Usage
    stopped: str | None
    fields: dict[str, Any] = field(default_factory=dict)


def ask_all(
    requests: Sequence[list[Message]],
    *,
    endpoint: Endpoint,
    limits: Limits,
    store: AnswerStore,
    acceptable: Callable[[int, str], bool] = lambda index, text: True,
    on_answer: Callable[[int, int], None] = lambda done, total: None,
    mode: Literal["online", "batch"] = "online",
) -> AskResult:
    """Ask every request, and again (at most `limits.max_reasks` times) those whose answer is not acceptable.

    `requests` is indexed when a request is due, so it may make them lazily. `acceptable(index, text)` is asked
    of every answer; `on_answer(done, total)` is called for each request that has a first answer.

    A budget that is reached ends asking cleanly: see `AskResult.stopped`. Raises `TeacherRefused` for a key, model or
    form of request that is refused, `TeacherUnreachable` when the retries are used up; all answers stay stored.
    """

    async def run() -> AskResult:
        async with Connection(endpoint, limits) as connection:
            session = Session(requests, connection, limits, store, acceptable, on_answer)
            await _ask(session, mode)
            session.account.usage.retries = connection.retries
            texts = [Answers(tuple(session.texts[index])) for index in range(len(requests))]
            return AskResult(texts, session.account.usage, session.stopped, connection.learned.as_dict())

    return asyncio.run(run())


async def _ask(session: Session, mode: Literal["online", "batch"]) -> None:
    """First asks of all requests, then further asks of those that need one."""
    waiting = list(range(len(session.requests)))
    for ask in range(session.limits.max_reasks + 1):
        if not waiting or session.stopped:
            return
        if mode == "batch":
            await ask_in_batches(session, waiting, ask)
        else:
            await session.ask_online(waiting, ask)
        waiting = session.unacceptable(waiting)
