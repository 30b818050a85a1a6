"""Rows of tests/proofs/speed.py: what one says, how two ways are timed by turns, and the Markdown table.

A measuring module gives `rows(full: bool = False) -> Iterator[Row]`, imports nothing heavy at its top level, and ends
what it started. `full` asks for the sizes that the documents quote, else a row takes a minute or two.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "transformers", "trl", "datasets", "s3fs", "pyarrow")
HEAD = "| what | times as fast | range | target | measured on |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """One line of the table; `ratio`, `low` and `high` are how many times as fast as the other way.

    `ratio` is the median of the rounds, `low` and `high` their range. `note` gives sizes, rounds and absolute figures.
    """

    name: str
    ratio: float
    low: float
    high: float
    target: float
    note: str

    @property
    def holds(self) -> bool:
        """Whether the target is reached."""
        return self.ratio >= self.target

    def markdown(self) -> str:
        """The line as Markdown."""
        note = self.note.replace("\n", " ").replace("|", "/")
        reached = f"{self.target:g}" if self.holds else f"{self.target:g} (missed)"
        return f"| {self.name} | {self.ratio:.2f} | {self.low:.2f} to {self.high:.2f} | {reached} | {note} |"


def row(name: str, ratios: Sequence[float], target: float, note: str) -> Row:
    """A row from the ratios of its rounds, of which there is one at least."""
    return Row(name, statistics.median(ratios), min(ratios), max(ratios), target, note)


def seconds(do: Callable[[], object]) -> float:
    """Wall time of a call."""
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def alternating(ours: Callable[[], object], other: Callable[[], object], rounds: int) -> list[tuple[float, float]]:
    """Seconds of (ours, other) in each round. Who is first changes with each, since a busy machine drifts."""
    found = []
    for number in range(rounds):
        if number % 2:
            second, first = seconds(other), seconds(ours)
            found.append((first, second))
        else:
            found.append((seconds(ours), seconds(other)))
    return found


def ratios_of(rounds: Iterable[tuple[float, float]]) -> list[float]:
    """How many times as fast ours was in each round."""
    return [other / ours for ours, other in rounds]


def machine() -> str:
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}, {memory:.0f} GiB"


def versions() -> str:
    """Python's and of the packages that the rows compare with."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def print_rows(rows: Iterable[Row]) -> bool:
    """The table on standard output, each line as soon as it is known; whether every target is reached."""
    tell(f"{machine()}, load {os.getloadavg()[0]:.1f} at the start; {versions()}\n")
    tell(HEAD)
    holds = True
    for one in rows:
        tell(one.markdown())
        holds &= one.holds
    return holds


def main_of(rows: Callable[[bool], Iterator[Row]], about: str | None = None) -> int:
    """The command of one measuring module: `--full`, the table, and 1 where a target is missed."""
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--full", action="store_true", help="the sizes that the documents quote")
    return int(not print_rows(rows(options.parse_args().full)))


def tell(line: str) -> None:
    """A line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
