"""What the asks of one call share: the account, the answers, and the turnstile that admits requests in order."""

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from models.errors import TeacherRefused
from models.generation.endpoint_address import Endpoint
from models.generation.endpoint_answers import Answer
from models.generation.limits import Account, Limits, Reserve, guess_prompt_tokens
from models.generation.openai_client import Connection, RequestRejected
from models.verdict.prompts import Message

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

    def digest(self, messages: list[Message], ask: int) -> str:
        """The name of this ask's answer in the store."""
        return request_digest(self.connection.endpoint, self.limits, messages, ask)

    def keep(self, index: int, answer: Answer, guess: int, *, cached: bool) -> None:
        """Book an answer that is in the store, and add its text."""
        self.account.book(answer, guess, cached=cached)
        self.texts[index].append(answer["text"])
        if len(self.texts[index]) == 1:
            self._on_answer(sum(map(bool, self.texts.values())), len(self.requests))

    def unacceptable(self, asked: Sequence[int]) -> list[int]:
        """Those of these requests whose last answer is not acceptable."""
        return [at for at in asked if self.texts[at] and not self._acceptable(at, self.texts[at][-1])]

    async def ask_online(self, waiting: list[int], ask: int) -> None:
        """One round of asks, several at a time. Raises like `ask_all`; a budget that is reached sets `stopped`."""
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
