"""Decoding in worker processes: a codec that crashes or never ends costs its one medium, and the rest goes on.

The pool is pebble's. `multiprocessing.Pool` waits for ever for the result of a process that crashed,
`concurrent.futures` gives up the whole pool then, and neither can end a task that takes too long. Processes are
spawned, not forked: this one may hold threads, CUDA and torch, of which a worker has nothing unless the function that
it is given imports it. The program's main module is not imported in them, see models/media/spawning.py. Nothing is left
behind when this process is killed: workers notice at once, but for one that is held up in a codec, which ends when the
time for its item is over.
"""

import logging
import multiprocessing
import os
import resource
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from models.errors import MediaError
from models.media.spawning import SpawnWithoutMain

T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger(__name__)
WAITING = 2  # items a process that are given out before their turn, so that none is ever idle
TRIES = 3  # of an item whose pool broke as a whole, which need not be its fault
POLL_S = 1.0  # between looks at whether the pool still works
LEAST_MIB = 256  # of which a worker's modules take about half
KILLED = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGALRM)  # by others, or by the alarm for its time: not its doing
GRACE_S = 5.0  # beyond the time limit, after which the kernel ends a worker that nobody else ended


@dataclass
class _Asked(Generic[T]):
    """One item that was given out, to the pool that it was given to."""

    uri: str
    item: T
    pool: ProcessPool
    future: "ProcessFuture[Any]"
    tries: int = 1


class Decoding(Protocol):
    """Whatever applies a function that decodes to items; see `Decoders.map`."""

    def map(self, function: Callable[[T], R], items: Iterable[tuple[str, T]]) -> Iterator[R | MediaError]:
        """What the function makes of each (uri, item), or the `MediaError` it met, in their order."""
        ...


class Here:
    """Decoding in this process, which a codec that crashes would end: for media that are known."""

    def map(self, function: Callable[[T], R], items: Iterable[tuple[str, T]]) -> Iterator[R | MediaError]:
        """See `Decoding.map`."""
        for _, item in items:
            try:
                yield function(item)
            except MediaError as error:
                yield error


HERE = Here()


class Decoders:
    """Processes that apply a function to items. A context manager: leaving it ends them, as forgetting it does.

    `processes` is their number, `seconds` the time limit of one item, counted from when a process takes it up, and
    `memory_mib` what one process may have for its data, its own modules included; none: no limit. Several threads may
    use one.
    """

    def __init__(self, processes: int, seconds: float, memory_mib: float | None = None) -> None:
        if processes < 1 or seconds <= 0:
            raise ValueError(f"{processes} processes and {seconds} s: give at least 1, and more than 0 s")
        if memory_mib is not None and memory_mib < LEAST_MIB:
            raise ValueError(f"{memory_mib:g} MiB of memory: a decoding process needs {LEAST_MIB} at least")
        self._processes = processes
        self._seconds = seconds
        self._memory_mib = memory_mib
        self._pool: ProcessPool | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the processes now, which else the first item does: they take about a second to load the codecs."""
        self._working_pool()

    def close(self) -> None:
        """End the processes; what they had begun is lost."""
        with self._starting:
            self._stop()

    def map(self, function: Callable[[T], R], items: Iterable[tuple[str, T]]) -> Iterator[R | MediaError]:
        """What `function` makes of each (uri, item), in their order; `items` are taken as results are.

        At most 1 + `WAITING` items a process are in memory, theirs or their results. `function` is defined at a
        module's top level, since it travels by name. A `MediaError` that it raises, and those for items that crashed
        their process, took too long or needed too much memory, are results; any other exception is raised here.
        `MediaError.passing` is set where another try may go well: after a timeout, and where the process was killed.
        """
        asked: deque[_Asked[T]] = deque()
        try:
            for uri, item in items:
                asked.append(self._ask(function, uri, item))
                if len(asked) == self._processes * (1 + WAITING):
                    yield self._answer(function, asked.popleft())
            while asked:
                yield self._answer(function, asked.popleft())
        finally:
            for one in asked:
                one.future.cancel()

    def _ask(self, function: Callable[[T], R], uri: str, item: T) -> _Asked[T]:
        pool = self._working_pool()
        given = (function, uri, item, self._seconds, self._memory_mib)
        future = pool.schedule(_apply, args=given, timeout=self._seconds)
        return _Asked(uri, item, pool, future)

    def _answer(self, function: Callable[[T], R], asked: _Asked[T]) -> R | MediaError:
        while True:
            # A process that dies before pebble heard what it took up is missed at the item's time limit, not before.
            wait([asked.future], timeout=POLL_S)
            if not asked.future.done() and asked.pool.active:
                continue
            try:
                if not asked.future.done():
                    raise BrokenProcessPool
                outcome: R | MediaError = asked.future.result()
            except TimeoutError:
                late = f"no result after {self._seconds:g} s, the limit: leave it out, or raise the limit"
                return MediaError(asked.uri, f"takes too long: {late}", passing=True)
            except ProcessExpired as error:
                killed = error.exitcode in KILLED
                return MediaError(asked.uri, f"crashes its decoder: {_how(error.exitcode)}", passing=killed)
            except BrokenProcessPool:
                if asked.tries == TRIES:
                    return MediaError(asked.uri, f"crashes its decoder: so it did {TRIES} times", passing=True)
                self._ask_again(function, asked)
                continue
            return outcome

    def _ask_again(self, function: Callable[[T], R], asked: _Asked[T]) -> None:
        again = self._ask(function, asked.uri, asked.item)
        asked.pool, asked.future, asked.tries = again.pool, again.future, asked.tries + 1

    def _working_pool(self) -> ProcessPool:
        with self._starting:
            if self._pool is not None and not self._pool.active:
                self._stop()
            if self._pool is None:
                self._pool = ProcessPool(
                    max_workers=self._processes,
                    initializer=_prepare_worker,
                    initargs=(self._memory_mib,),
                    context=SpawnWithoutMain(),
                )
                self._end = weakref.finalize(self, _end, self._pool)
            return self._pool

    def _stop(self) -> None:
        if self._pool is not None:
            self._end()
            self._pool = None


def _end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def decoders_within(processes: int, seconds: float, memory_mib: float | None) -> Decoding:
    """Decoders with these limits, started, which end with whoever holds them; for 0 processes `HERE`.

    So it is, with a warning, in a process that may start none: a daemonic one of `multiprocessing`.
    """
    if processes == 0:
        return HERE
    if multiprocessing.current_process().daemon:
        log.warning("media are decoded in this process, which may start no others: what crashes it ends it")
        return HERE
    decoders = Decoders(processes, seconds, memory_mib)
    decoders.start()
    return decoders


def _how(exitcode: int) -> str:
    if exitcode < 0:
        return f"the process was ended by {signal.Signals(-exitcode).name}"
    return f"the process ended with status {exitcode}"


def _prepare_worker(memory_mib: float | None) -> None:
    """Runs first in each worker: loads the decoders, which else would count as the time of its first item."""
    import av  # noqa: F401

    import models.media.frames  # noqa: F401

    threading.Thread(target=_leave_with_parent, daemon=True, name="lifeline").start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected, and its memory no one's to look at
    if memory_mib is not None:
        most = int(memory_mib * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))  # private memory: the heap and what is mapped for it


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # which sees that it ended, however that was
        os._exit(143)


def _apply(function: Callable[[T], R], uri: str, item: T, seconds: float, memory_mib: float | None) -> R | MediaError:
    """Runs in a worker. The alarm ends it also where Python is not asked, within a codec, and the pool is gone."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_S)
    try:
        return function(item)
    except MediaError as error:
        return error
    except MemoryError:
        if memory_mib is None:
            raise
        most = f"more than {memory_mib:g} MiB, the limit: scale it down, or raise the limit"
        return MediaError(uri, f"needs too much memory: {most}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
