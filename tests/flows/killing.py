"""`kill -9` of a stage at a moment of its own work, for tests that have it resumed."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

Reached = Callable[[Path], bool]


def answers(least: int) -> Reached:
    """At least so many of the teacher's answers are kept."""
    return lambda work: len(list((work.parent / "teacher").glob("*/blobs/answers/*"))) >= least


def shards(least: int) -> Reached:
    """At least so many shards of samples are kept, by the step of rejection sampling that makes them."""
    return lambda work: len(list((work.parent / "sampling").glob("*/blobs/shards/*"))) >= least


def checkpoint(step: int) -> Reached:
    """The checkpoint of this step is kept as a whole."""
    return lambda work: any(work.glob(f"*/trees/checkpoint-{step}/COMPLETE.json"))


def checkpoint_begun(step: int) -> Reached:
    """The checkpoint of this step is on its way into the store, if not there yet."""
    return lambda work: any(work.glob(f"*/trees/checkpoint-{step}"))


@contextmanager
def stage_killed_when(reached: Callable[[], bool]) -> Iterator[None]:
    """Inside, the process group of the stage that this process runs is killed as soon as `reached` says so, once."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            if reached():
                for process in psutil.Process().children():
                    with suppress(psutil.Error, ProcessLookupError):
                        if "tasks.pipeline.child" in process.cmdline():
                            os.killpg(process.pid, signal.SIGKILL)
                            return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
