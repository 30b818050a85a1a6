"""The judge service under load: what dynamic batching gives, what is refused, whether answers or memory are lost.

    python -m tests.proofs.serving_load [--requests 10000] [--clients 32] [--mode direct]

Starts `thinkreward serve` over the tiny base model as a process of its own, its alias in a SQLite registry, and asks it
about held-out pairs of the embedded world, for at most 96 tokens each (in direct mode answers have about eight, so that
reading the pictures is most of the work, and batches gain less):

- one request at a time, for the rate and the answers to hold others against;
- so many by `--clients` at once, in the middle of which the alias moves to a second model with the same weights;
- a burst of four times as many clients as may be running, for the refusals.

Prints rates, latencies, batches and the process's memory on the way. Exit status 1 if the concurrent rate is below four
times the other, an answer is missing or differs, or memory has grown by more than a tenth after the first fifth.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from configs.load import load_settings
from configs.schema import Settings
from models.pairs.preference import Task
from tests.tasks.seaweed import free_ports
from tests.tasks.serving.running import asked, promote

PAIRS = 64  # distinct requests, sent again and again
STARTING_S = 120.0
AT_WORK = 64  # serve.requests


def main() -> int:
    """Prints the figures; the exit status says whether they hold."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--requests", type=int, default=10_000)
    arguments.add_argument("--clients", type=int, default=32)
    arguments.add_argument("--mode", choices=["think", "direct"], default="think")
    given = arguments.parse_args()
    bodies = [asked(list(Task)[at % 4], at, both_orders=False, mode=given.mode) for at in range(PAIRS)]
    with tempfile.TemporaryDirectory(prefix="thinkreward-load-") as aside:
        registry = Registry(Path(aside))
        registry.promote(1)
        with Service(registry) as service:
            right, alone = service.one_by_one(bodies)
            load = service.many(bodies, right, given.requests, given.clients, lambda: registry.promote(2))
            refused = service.burst(bodies, right, 4 * AT_WORK)
    tell(f"one at a time        {alone:8.1f} requests/s")
    tell(f"{given.clients} at once           {load.rate:8.1f} requests/s, {load.rate / alone:.1f} times as many")
    tell(f"latency              {load.at(0.5):8.3f} s in the middle, {load.at(0.99):.3f} s for 99 of 100")
    tell(f"answers              {load.statuses}, {load.wrong} differ, models {sorted(load.models)}")
    tell(f"memory, MiB          {load.memory}")
    tell(f"a burst of {4 * AT_WORK}       {refused.statuses}, {refused.wrong} differ")
    fifth = load.memory[len(load.memory) // 5]
    kept = load.statuses == {200: given.requests} and not load.wrong and not refused.wrong and len(load.models) == 2
    return int(load.rate < 4 * alone or not kept or max(load.memory) > 1.1 * fifth or 429 not in refused.statuses)


@dataclass
class Load:
    """What came of many requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    models: set[str] = field(default_factory=set)
    memory: list[int] = field(default_factory=list)
    wrong: int = 0
    rate: float = 0.0

    def at(self, share: float) -> float:
        """The latency that this share of the requests stays below, in seconds."""
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))]


class Registry:
    """A store and a registry on disk, whose champion can be moved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sets = [
            f"storage.root={folder}/store",
            f"storage.cache_dir={folder}/cache",
            f"tracking.uri=sqlite:///{folder}/mlflow.db",
            f"serve.requests={AT_WORK}",
            "serve.follow_s=1",
            "evaluate.max_tokens=96",
        ]
        self.settings: Settings = load_settings("shapes", self.sets)

    def promote(self, number: int) -> None:
        """Make the base model, with a file more, the champion."""
        promote(self.settings, self.folder, number)


class Service:
    """`thinkreward serve` in a process of its own."""

    def __init__(self, registry: Registry) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        program = Path(sys.executable).with_name("thinkreward")
        sets = [word for one in registry.sets for word in ("--set", one)]
        self.process = subprocess.Popen([program, "serve", "--port", str(port), *sets], env=dict(os.environ))

    def __enter__(self) -> "Service":
        deadline = time.monotonic() + STARTING_S
        while True:
            try:
                httpx.get(f"{self.url}/ready").raise_for_status()
                return self
            except httpx.TransportError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.2)

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(60)

    def one_by_one(self, bodies: list[dict[str, Any]]) -> tuple[list[str], float]:
        """The answers, and requests a second, after one round to warm up."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            for body in bodies[:8]:
                client.post("/v1/compare", json=body)
            began = time.monotonic()
            texts = [str(client.post("/v1/compare", json=body).json()["text"]) for body in bodies]
            return texts, len(bodies) / (time.monotonic() - began)

    def many(self, bodies: list[dict[str, Any]], right: list[str], count: int, clients: int, halfway: Any) -> Load:
        """So many requests by so many clients; `halfway` is called once half of them are answered."""
        load, numbers, lock = Load(), itertools.count(), threading.Lock()
        mover = threading.Thread(target=halfway)

        def ask() -> None:
            with httpx.Client(base_url=self.url, timeout=60) as client:
                while (number := next(numbers)) < count:
                    began = time.monotonic()
                    answer = client.post("/v1/compare", json=bodies[number % PAIRS])
                    with lock:
                        _note(load, answer, right[number % PAIRS], time.monotonic() - began)
                        if len(load.seconds) % max(1, count // 20) == 0:
                            load.memory.append(psutil.Process(self.process.pid).memory_info().rss // 2**20)
                        if len(load.seconds) == count // 2:
                            mover.start()

        began = time.monotonic()
        with ThreadPoolExecutor(clients) as pool:
            for done in [pool.submit(ask) for _ in range(clients)]:
                done.result()
        load.rate = count / (time.monotonic() - began)
        mover.join()
        return load

    def burst(self, bodies: list[dict[str, Any]], right: list[str], clients: int) -> Load:
        """One request of each of so many clients at the same time."""
        load = Load()

        def ask(number: int) -> httpx.Response:
            return httpx.post(f"{self.url}/v1/compare", json=bodies[number % PAIRS], timeout=60)

        with ThreadPoolExecutor(clients) as pool:
            for number, answer in enumerate(pool.map(ask, range(clients))):
                _note(load, answer, right[number % PAIRS], 0.0)
        return load


def _note(load: Load, answer: httpx.Response, right: str, seconds: float) -> None:
    load.statuses[answer.status_code] += 1
    load.seconds.append(seconds)
    if answer.status_code == 200:
        said = answer.json()
        load.models.add(said["model"][:12])
        load.wrong += said["text"] != right


def tell(line: str) -> None:
    """A line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
