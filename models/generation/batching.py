"""Dynamic batching: what several callers ask at the same time is generated together.

A model on a GPU, and a small one on a CPU, takes hardly longer for sixteen texts than for one. Callers wait in one
queue; a thread takes the oldest, and with it whatever waits for the same kind of generation, up to a batch. While a
batch is generated the next one gathers by itself, so nothing has to be held back to fill it; `pause_s` alone lets
callers that arrive together begin together.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from models.errors import Cancelled, DataError, ThinkrewardError
from models.generation.protocol import (
    Generated,
    GeneratorIdentity,
    OnText,
    Progress,
    SamplingParams,
    StreamingGenerator,
)
from models.verdict.grammar import Mode
from models.verdict.prompts import Message

log = logging.getLogger(__name__)


class QueueFull(ThinkrewardError):
    """More would wait than may: try again later."""

    retryable = True


class NotGenerated(DataError):
    """The model cannot take this one conversation; others fare better."""


@dataclass
class _Item:
    """One conversation that waits, its caller, and its completions or its error."""

    conversation: list[Message]
    seed: int
    params: SamplingParams  # with the seed of none: with the mode, what a batch has in common
    mode: Mode
    place: int  # within its caller's conversations
    cancelled: threading.Event
    on_text: OnText | None
    done: threading.Event = field(default_factory=threading.Event)
    completions: list[Generated] = field(default_factory=list)
    error: BaseException | None = None
    sent: bool = False  # whether a piece of its text was passed on, so that it cannot be generated again

    def goes_with(self, other: "_Item") -> bool:
        """Whether both can be generated together."""
        return (self.params, self.mode) == (other.params, other.mode)

    def send(self, sample: int, text: str) -> None:
        """Pass a piece of its text on."""
        if self.on_text is not None and not self.cancelled.is_set():
            self.sent = True
            self.on_text(self.place, sample, text)

    def end(self, completions: list[Generated] | None = None, error: BaseException | None = None) -> None:
        """Its answer is there, or will not be."""
        self.completions, self.error = completions or [], error
        self.done.set()


class BatchingGenerator:
    """A generator for many threads over one that generates batches. `close` ends its own thread.

    `batch` conversations are generated together at most, `waiting` may wait besides. `on_batch` receives the size of
    each batch and its seconds.
    """

    streams = True

    def __init__(
        self,
        inner: StreamingGenerator,
        *,
        batch: int,
        waiting: int,
        pause_s: float = 0.005,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._inner = inner
        self._batch = batch
        self._most = waiting
        self._pause_s = pause_s
        self._on_batch = on_batch
        self._queue: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="batching")
        self._thread.start()

    @property
    def identity(self) -> GeneratorIdentity:
        """That of the generator within."""
        return self._inner.identity

    @property
    def waiting(self) -> int:
        """How many conversations wait for their turn."""
        return len(self._queue)

    def generate(
        self,
        conversations: Sequence[list[Message]],
        params: SamplingParams,
        *,
        mode: Mode = "think",
        on_progress: Progress | None = None,
        on_text: OnText | None = None,
        cancelled: threading.Event | None = None,
    ) -> list[list[Generated]]:
        """See `Generator.generate`. No text depends on what else is in a batch, but for rounding.

        Raises `QueueFull` if not all conversations may wait, and `Cancelled` once `cancelled` is set or this is closed.
        """
        cancelled = cancelled or threading.Event()
        common = replace(params, seed=0)
        items = [
            _Item(one, own, common, mode, place, cancelled, on_text)
            for place, (one, own) in enumerate(zip(conversations, params.seeds(len(conversations)), strict=True))
        ]
        with self._changed:
            if self._closed:
                raise Cancelled("the service ends: ask another one, or later")
            if len(self._queue) + len(items) > self._most:
                raise QueueFull(f"{len(self._queue)} texts wait already, of {self._most} that may: try again later")
            self._queue.extend(items)
            self._changed.notify()
        for count, item in enumerate(items, 1):
            item.done.wait()
            if item.error is not None:
                raise item.error
            if on_progress is not None:
                on_progress(count, len(items))
        return [item.completions for item in items]

    def close(self) -> None:
        """Take nothing more, generate what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        def send(items: list[_Item], at: int, sample: int, text: str) -> None:
            if all(item.cancelled.is_set() for item in items):
                raise Cancelled("cancelled while it was written")
            items[at].send(sample, text)

        def generate(items: list[_Item]) -> None:
            try:
                completions = self._inner.generate(
                    [item.conversation for item in items],
                    replace(items[0].params, seed=[item.seed for item in items]),
                    mode=items[0].mode,
                    on_text=partial(send, items),
                )
                for item, texts in zip(items, completions, strict=True):
                    refused = next((one.refused for one in texts if one.refused), "")
                    item.end(texts, NotGenerated(f"the model cannot take it: {refused}") if refused else None)
            except BaseException as error:  # noqa: BLE001  (who asked is to know it; the next batch may do)
                if len(items) == 1 or isinstance(error, Cancelled):
                    for item in items:
                        item.end(error=error)
                    return
                log.warning("a batch of %d failed (%r); each is tried alone", len(items), error)
                for item in items:
                    if item.sent:
                        item.end(error=error)
                    else:
                        generate([item])

        while items := self._next():
            began = time.monotonic()
            generate(items)
            self._on_batch(len(items), time.monotonic() - began)

    def _next(self) -> list[_Item]:
        """The next batch; empty when there will be none."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            if len(self._queue) < self._batch and not self._closed:
                self._changed.wait_for(lambda: len(self._queue) >= self._batch or self._closed, self._pause_s)
            chosen: list[_Item] = []
            left: deque[_Item] = deque()
            for item in self._queue:
                if item.cancelled.is_set():
                    item.end(error=Cancelled("cancelled before its turn"))
                elif len(chosen) < self._batch and (not chosen or item.goes_with(chosen[0])):
                    chosen.append(item)
                else:
                    left.append(item)
            self._queue = left
        return chosen or (self._next() if self._queue or not self._closed else [])
