"""Work in a thread, whose progress a browser receives as server-sent events; the last is its result or its problem.

FastAPI encodes the events and, while there are none, sends the comments that keep proxies from closing the connection.
sse-starlette was tried for this and for the service's streams: it ends every stream as soon as the server is to exit,
where ours are answered to their end, and it changes uvicorn's signal handler when it is imported.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi.sse import ServerSentEvent

from models.errors import ThinkrewardError

log = logging.getLogger(__name__)
Emit = Callable[[str, Any], None]  # an event's name and data
DONE, PROBLEM = "done", "problem"
AT_ONCE = 8  # requests running, including those whose browser has disconnected
slots = threading.BoundedSemaphore(AT_ONCE)


async def events(work: Callable[[Emit, threading.Event], Any]) -> AsyncIterator[ServerSentEvent]:
    """The events that `work(emit, cancelled)` emits, and what it returns as `done`.

    What it raises is the event `problem`. `cancelled` is set once nobody listens any more.
    """
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[ServerSentEvent]()
    cancelled = threading.Event()

    def emit(name: str, data: Any) -> None:
        if not cancelled.is_set():
            loop.call_soon_threadsafe(queue.put_nowait, ServerSentEvent(event=name, data=data))

    def run() -> None:
        if not slots.acquire(blocking=False):
            emit(PROBLEM, f"{AT_ONCE} requests are running, which is the limit: try again later")
            return
        try:
            emit(DONE, work(emit, cancelled))
        except ThinkrewardError as error:
            emit(PROBLEM, str(error))
        except Exception:
            log.exception("the workbench could not finish a request")
            emit(PROBLEM, "the workbench failed to answer; its log has the error")
        finally:
            slots.release()

    threading.Thread(target=run, daemon=True, name="workbench").start()
    try:
        while True:
            event = await queue.get()
            yield event
            if event.event in (DONE, PROBLEM):
                return
    finally:
        cancelled.set()
