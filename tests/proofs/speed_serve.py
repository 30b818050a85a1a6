"""Speed: the judge service asked by many at once, next to one request after the other.

    python -m tests.proofs.speed_serve [--full]

`thinkreward serve` over the tiny base model in a process of its own, requests about the four tasks, at most 96 tokens
each (`tests.proofs.serving_load`). In direct mode answers have about eight tokens, so that what comes before them
weighs more: decoding the media, processing them, and reading the prompt.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.proofs.speed_rows import Row, main_of, row

TARGETS = {"think": 8.0, "direct": 4.0}
CLIENTS = 32


def rows(full: bool = False) -> Iterator[Row]:
    """Thinking and direct."""
    from models.pairs.preference import Task
    from tests.proofs.serving_load import PAIRS, Registry, Service
    from tests.tasks.serving.running import asked

    rounds, requests = (5, 1024) if full else (3, 256)
    with tempfile.TemporaryDirectory(prefix="thinkreward-speed-") as aside:
        registry = Registry(Path(aside))
        registry.promote(1)
        for mode, target in TARGETS.items():
            bodies = [asked(list(Task)[at % 4], at, both_orders=False, mode=mode) for at in range(PAIRS)]
            ratios, alone_at, rates = [], [], []
            with Service(registry) as service:
                for _ in range(rounds):
                    right, alone = service.one_by_one(bodies)
                    load = service.many(bodies, right, requests, CLIENTS, lambda: None)
                    if load.wrong or load.statuses != {200: requests}:
                        raise AssertionError(f"{load.wrong} answers of {load.statuses} differ from those one by one")
                    ratios.append(load.rate / alone)
                    alone_at.append(alone)
                    rates.append(load.rate)
            note = (
                f"{rounds} rounds of {PAIRS} and {requests} requests, {max(rates):.0f}/s against {max(alone_at):.0f}/s"
            )
            yield row(f"service, {CLIENTS} clients at once, {mode}, against one at a time", ratios, target, note)


if __name__ == "__main__":
    sys.exit(main_of(rows, __doc__))
