"""How long does a nightly take in which nothing is new, and how much of it is Prefect's own?

    python -m tests.proofs.warm_nightly [--rounds 5] [--folder DIR]

Starts a local stack, runs the small recipe once, then nightlies with nothing new, by turns with nightlies of no stage
at all. What the latter take, from asking Prefect for the run to its end (a worker picks it up, a process starts,
imports and reports), is Prefect's and Python's own. Exit status 1 if the median of the former is 30 s or more.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.proofs.local_stack import LocalStack

GOAL_S = 30.0


def main() -> int:
    """Runs and prints."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--folder", type=Path, help="keep the stack's data here, and begin with what is there")
    given = arguments.parse_args()
    rounds = given.rounds
    with (
        tempfile.TemporaryDirectory(prefix="thinkreward-warm-") as aside,
        LocalStack(given.folder or Path(aside)) as stack,
    ):
        tell(f"the first nightly, small recipe: {seconds(stack):.1f} s")
        warm, empty = [], []
        for _ in range(rounds):
            warm.append(seconds(stack))
            empty.append(seconds(stack, stages=[]))
            tell(f"nothing new {warm[-1]:5.1f} s    no stage at all {empty[-1]:5.1f} s")
    ours = statistics.median(warm)
    own = statistics.median(empty)
    tell(f"median: nothing new {ours:.1f} s, of which Prefect's own {own:.1f} s")
    return ours >= GOAL_S


def seconds(stack: LocalStack, **parameters: object) -> float:
    """From asking for the run to its end."""
    started = time.monotonic()
    ended = stack.wait(stack.start("nightly/default", **parameters))
    assert ended["state_type"] == "COMPLETED", ended["state"]
    return time.monotonic() - started


def tell(text: str) -> None:
    """A line of the script's output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
