"""What protects the service: how much a request may hold, how many may be running at once, and for how long."""

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import ThinkrewardError

Result = TypeVar("Result")
POLL_S = 0.2  # between looks at whether the caller is still there


class Busy(ThinkrewardError):
    """As many requests are running as may be."""

    retryable = True

    def __init__(self, most: int, retry_after_s: int) -> None:
        super().__init__(f"{most} requests are running, which is the limit: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class TooLate(ThinkrewardError):
    """A request took longer than it may."""

    retryable = True


class ClientDisconnected(Exception):
    """The client has disconnected: no answer reaches it."""


class ConcurrencyLimiter:
    """Runs requests in threads, `most` at a time and each for `timeout_s` at most. `close` ends the threads."""

    def __init__(self, most: int, timeout_s: float) -> None:
        self._most = most
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="request")
        self._typical_s = 1.0  # of the last requests
        self.in_flight = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place for one request. Raises `Busy` at once if there is none."""
        if self.in_flight >= self._most:
            raise Busy(self._most, max(1, math.ceil(self._typical_s)))
        self.in_flight += 1
        began = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self.in_flight -= 1
            self._typical_s += 0.1 * (asyncio.get_running_loop().time() - began - self._typical_s)

    async def run(
        self, work: Callable[[threading.Event], Result], disconnected: Callable[[], Awaitable[bool]]
    ) -> Result:
        """What `work` gives; its event is set once nobody waits for it any more.

        Raises `TooLate` after the time limit and `ClientDisconnected` when the client has disconnected.
        """
        cancelled = threading.Event()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        future = loop.run_in_executor(self._threads, work, cancelled)
        try:
            while not (await asyncio.wait({future}, timeout=min(POLL_S, deadline - loop.time())))[0]:
                if await disconnected():
                    raise ClientDisconnected
                if loop.time() >= deadline:
                    raise TooLate(f"no answer within {self._timeout_s:g} s, the limit: ask for less, or later")
            return future.result()
        finally:
            cancelled.set()
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else looks at it

    async def in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a function gives, in one of the threads; without a limit of time."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def close(self) -> None:
        """End the threads once their requests have."""
        self._threads.shutdown(wait=True)


class BodyLimit:
    """ASGI middleware: a body of more than `most` bytes is answered 413, whether it declares its length or not."""

    def __init__(self, app: ASGIApp, most: int, refuse: Callable[[str], ASGIApp]) -> None:
        self.app = app
        self.most = most
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what is received."""
        seen, words = 0, f"the body has more than {self.most} bytes, the limit: send smaller media"
        if scope["type"] == "http" and _declared(scope) > self.most:
            await self.refuse(words)(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.most:
                raise HTTPException(413, words)
            return message

        await self.app(scope, counted, send)


def _declared(scope: Scope) -> int:
    """The length that a request declares."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    text = next((value for name, value in headers if name == b"content-length"), b"0")
    return int(text) if text.isdigit() else 0
