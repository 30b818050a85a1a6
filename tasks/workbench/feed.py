"""Work in a thread, told to a browser as it goes: server-sent events, the last of them its result or its problem."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from models.errors import ThinkrewardError

log = logging.getLogger(__name__)
Tell = Callable[[str, Any], None]
DONE, PROBLEM = "done", "problem"
AT_ONCE = 8  # requests running, those that nobody waits for any more included
SIGN_OF_LIFE_S = 15.0  # of silence: proxies cut connections that say nothing for a minute
# Neither a proxy nor a browser is to keep the events back.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
places = threading.BoundedSemaphore(AT_ONCE)


async def events(work: Callable[[Tell, threading.Event], Any]) -> AsyncIterator[str]:
    """What `work(tell, given_up)` tells, as the events it names, and what it returns as `done`.

    What it raises is the event `problem`. `given_up` is set once nobody listens any more.
    """
    loop, said = asyncio.get_running_loop(), asyncio.Queue[tuple[str, Any]]()
    given_up = threading.Event()

    def tell(name: str, data: Any) -> None:
        if not given_up.is_set():
            loop.call_soon_threadsafe(said.put_nowait, (name, data))

    def run() -> None:
        if not places.acquire(blocking=False):
            tell(PROBLEM, f"{AT_ONCE} requests are running, which is the limit: try again later")
            return
        try:
            tell(DONE, work(tell, given_up))
        except ThinkrewardError as error:
            tell(PROBLEM, str(error))
        except Exception:
            log.exception("the workbench could not finish a request")
            tell(PROBLEM, "this went wrong here; the workbench's log says how")
        finally:
            places.release()

    threading.Thread(target=run, daemon=True, name="workbench").start()
    try:
        name = ""
        while name not in (DONE, PROBLEM):
            try:
                name, data = await asyncio.wait_for(said.get(), SIGN_OF_LIFE_S)
            except TimeoutError:
                yield ": still at it\n\n"
                continue
            yield f"event: {name}\ndata: {json.dumps(data)}\n\n"
    finally:
        given_up.set()
