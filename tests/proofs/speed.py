"""How fast, next to what else one would use: a table in which each row is a ratio measured in one run.

    python -m tests.proofs.speed [--only distill import ...] [--full]

Each row takes both ways by turns, some rounds of each, and gives the median of the rounds' ratios with their range, so
that what else the machine does weighs on both. A row takes a minute or two on two cores; `--full` takes the sizes that
the documents quote (100,000 pairs, 1 GiB). Servers are this machine's own and end with the row.

Exit status 1 if a target is missed. The rows are in modules of their own, `speed_<name>.py`, each a command too.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec

from tests.proofs.speed_rows import Row, print_rows

NAMES = ("sampling", "sft", "grpo", "distill", "transfer", "import", "serve")


def main() -> int:
    """Prints the table; the exit status says whether every target is reached."""
    there = [name for name in NAMES if find_spec(module_of(name))]
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", nargs="+", choices=there, default=there, metavar="ROW", help=", ".join(there))
    arguments.add_argument("--full", action="store_true", help="the sizes that the documents quote")
    given = arguments.parse_args()
    return int(not print_rows(all_rows(given.only, full=given.full)))


def all_rows(names: Iterable[str], *, full: bool) -> Iterator[Row]:
    """The rows of these modules, each module imported when its turn comes."""
    for name in names:
        yield from import_module(module_of(name)).rows(full)


def module_of(name: str) -> str:
    """The module that measures the rows of this name."""
    return f"tests.proofs.speed_{name}"


if __name__ == "__main__":
    sys.exit(main())
