"""What a public benchmark is: its reader, its groups, and what its paper's protocol counts.

Each benchmark is a file of its own in this folder with one `BENCHMARK`; `models/evaluation/benchmarks/registry.py`
names them.
"""

from dataclasses import dataclass
from typing import Literal

from models.sources.rows import Read

# diff: pairs labelled a tie are left out; tau: they count, and a judge has to say tie (arXiv 2406.04485, GenAI-Bench;
# arXiv 2305.14324 on ties in meta-evaluation).
Ties = Literal["diff", "tau"]


@dataclass(frozen=True)
class Quoted:
    """One published row: a model's figures (percent) by group or `overall`, and where they stand in print."""

    model: str
    figures: dict[str, float]
    source: str


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. `groups` are the official ones in their official order; empty where it has none.

    `ties` and `macro` say what the benchmark's own headline figure is: over which pairs, and whether it is the mean
    over groups instead of over pairs.
    """

    name: str
    read: Read
    groups: tuple[str, ...] = ()
    ties: Ties = "diff"
    macro: bool = False
    quoted: tuple[Quoted, ...] = ()
