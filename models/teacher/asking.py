"""Asking a teacher for many answers: each is stored as it arrives, so that none is ever paid for twice.

Requests are admitted in their order, first asks before further asks, against one budget that also counts
what an interrupted call paid for: the same requests give the same answers, however often it was interrupted.
Until one is answered requests go one by one, so that a refused key costs one request and the budget learns a prompt's
size; when each of the first few is rejected, asking ends, since all would be.
"""

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from models.errors import TeacherRefused
from models.generation.endpoint_address import Endpoint
from models.generation.endpoint_answers import Answer
from models.generation.limits import Account, Limits, Reserve, Usage, guess_prompt_tokens
from models.generation.openai_client import Connection, RequestRejected
from models.teacher.batch import ask_in_batches
from models.verdict.prompts import Message

__all__ = ["AnswerStore", "Answers", "AskResult", "Endpoint", "Limits", "Usage", "ask_all", "request_digest"]

PROBES = 3


class AnswerStore(Protocol):
    """Where answers are kept, by name. Called from several threads, never for one name at once."""

    def get(self, digest: str) -> dict[str, Any] | None:
        """What was put under this name, or None."""

    def put(self, digest: str, value: dict[str, Any]) -> None:
        """Keep a JSON value, in place of what was there, whole or not at all."""


@dataclass(frozen=True)
class Answers:
    """The texts answered to one request, ask by ask; none if it was rejected or never sent."""

    texts: tuple[str, ...] = ()

    @property
    def text(self) -> str | None:
        """The last answer, which is the acceptable one if any is."""
        return self.texts[-1] if self.texts else None


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


def request_digest(endpoint: Endpoint, limits: Limits, messages: list[Message], ask: int) -> str:
    """The name under which an answer is kept: sha256 over the canonical JSON of all that shapes it."""
    request = {
        "model": endpoint.model,
        "messages": messages,
        "temperature": limits.temperature,
        "max_tokens": limits.max_tokens,
        "ask": ask,
    }
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


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
            await session.ask(mode)
            session.account.usage.retries = connection.retries
            texts = [Answers(tuple(session.texts[index])) for index in range(len(requests))]
            return AskResult(texts, session.account.usage, session.stopped, connection.learned.as_dict())

    return asyncio.run(run())


class Session:
    """One call of `ask_all`: its account, its answers, and the turnstile that admits requests in order."""

    def __init__(
        self,
        requests: Sequence[list[Message]],
        connection: Connection,
        limits: Limits,
        store: AnswerStore,
        acceptable: Callable[[int, str], bool],
        on_answer: Callable[[int, int], None],
    ) -> None:
        self.requests = requests
        self.connection = connection
        self.limits = limits
        self.store = store
        self.account = Account(limits)
        self.texts: defaultdict[int, list[str]] = defaultdict(list)
        self.stopped: str | None = None
        self._acceptable = acceptable
        self._on_answer = on_answer
        self._failure: Exception | None = None
        self._turn = 0
        self._moved = asyncio.Condition()
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ask(self, mode: Literal["online", "batch"]) -> None:
        """First asks of all requests, then further asks of those that need one."""
        waiting = list(range(len(self.requests)))
        for ask in range(self.limits.max_reasks + 1):
            if not waiting or self.stopped:
                return
            if mode == "batch":
                await ask_in_batches(self, waiting, ask)
            else:
                await self._ask_online(waiting, ask)
            waiting = [at for at in waiting if self.texts[at] and not self._acceptable(at, self.texts[at][-1])]

    def digest(self, messages: list[Message], ask: int) -> str:
        """The name of this ask's answer in the store."""
        return request_digest(self.connection.endpoint, self.limits, messages, ask)

    def keep(self, index: int, answer: Answer, guess: int, *, cached: bool) -> None:
        """Book an answer that is in the store, and add its text."""
        self.account.book(answer, guess, cached=cached)
        self.texts[index].append(answer["text"])
        if len(self.texts[index]) == 1:
            self._on_answer(sum(map(bool, self.texts.values())), len(self.requests))

    async def _ask_online(self, waiting: list[int], ask: int) -> None:
        self._turn = 0
        places = iter(enumerate(waiting))
        await asyncio.gather(*(self._work(places, ask) for _ in range(min(self.limits.concurrency, len(waiting)))))
        if self._failure is not None:
            raise self._failure

    async def _work(self, places: Iterator[tuple[int, int]], ask: int) -> None:
        """One of the concurrent workers. A failure lets requests under way finish, since they are being paid for."""
        try:
            for place, index in places:
                if not await self._ask_one(place, index, ask):
                    return
        except Exception as error:  # noqa: BLE001  (raised again by the caller, once all askers have stopped)
            self._failure = self._failure or error
            self.connection.cancelled = True
        finally:
            async with self._moved:
                self._moved.notify_all()

    async def _ask_one(self, place: int, index: int, ask: int) -> bool:
        """Whether there may be another request after this one."""
        messages = self.requests[index]
        digest, guess = self.digest(messages, ask), guess_prompt_tokens(messages)
        async with self._one_at_a_time[digest]:  # equal requests are paid for once
            stored = await asyncio.to_thread(self.store.get, digest)
            if stored is not None:
                return await self._pass(place, index, stored, guess)
            reserve = await self._admit(place, guess)
            if reserve is None:
                return False
            answer = None
            try:
                answer = await self.connection.complete(messages, ask, self.account.tokens(reserve))
                await asyncio.to_thread(self.store.put, digest, answer)
            except RequestRejected as rejected:
                # One that is rejected may be at fault itself, all of the first are not.
                if not self.account.calibrated and place == min(PROBES, len(self.requests)) - 1:
                    raise TeacherRefused(f"{self.connection.endpoint.host} rejects the request: {rejected}") from None
            finally:
                await self._settle(reserve, index, answer)
        return True

    async def _pass(self, place: int, index: int, stored: Answer, guess: int) -> bool:
        """Take a kept answer when its turn comes."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._over or self._turn == place)
            if self._over:
                return False
            self.keep(index, stored, guess, cached=True)
            self._turn += 1
            self._moved.notify_all()
        return True

    async def _admit(self, place: int, guess: int) -> Reserve | None:
        """Set the worst case of a request aside when its turn comes, or stop asking if it cannot fit.

        Whether it fits is decided only with all earlier requests settled or room for their worst cases too.
        """

        def due() -> bool:
            fits = self.account.calibrated and self.account.refusal(self.account.worst_case(guess)) is None
            return self._over or (self._turn == place and (fits or self.account.under_way == 0))

        async with self._moved:
            await self._moved.wait_for(due)
            if self._over:
                return None
            reserve = self.account.worst_case(guess)
            refusal = self.account.refusal(reserve)
            self._turn += 1
            if refusal is not None:
                self.stopped = f"budget: {refusal}"
            else:
                self.account.reserve(reserve)
            self._moved.notify_all()
        return None if refusal is not None else reserve

    async def _settle(self, reserve: Reserve, index: int, answer: Answer | None) -> None:
        async with self._moved:
            self.account.release(reserve)
            if answer is not None:
                self.keep(index, answer, reserve.guess, cached=False)
            self._moved.notify_all()

    @property
    def _over(self) -> bool:
        return self.stopped is not None or self._failure is not None
