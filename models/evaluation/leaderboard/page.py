"""The leaderboard as one HTML file that opens from disk: everything inside it, nothing fetched.

Texts of judges, captions and data sets are escaped by the template. The page's content security policy allows no
request, and of scripts only the one this file puts there, by its hash: markup that slipped through would not run.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from markupsafe import Markup

from models.evaluation.benchmarks.benchmark import Benchmark
from models.evaluation.benchmarks.comparison import PairedTests
from models.evaluation.benchmarks.protocol import UNDECODABLE, order_flips
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.leaderboard.plots import Dot, Numbered, colour, interval_bars, scatter
from models.evaluation.leaderboard.tables import (
    Entry,
    aspect_table,
    detail_table,
    group_names,
    group_table,
    own_figures,
    places,
    protocol_words,
)
from models.evaluation.report.cards import card
from models.evaluation.report.data import Example
from models.evaluation.report.environment import page_environment
from models.evaluation.report.sections import Figure
from models.evaluation.report.table import MISSING, percent, signed, task_name
from models.evaluation.scores import Scores
from models.pairs.preference import PreferencePair

TEMPLATE = "leaderboard.html.j2"
SCRIPT = "leaderboard.js"

Kind = Literal["right", "wrong", "unparsed", "undecodable"]


@dataclass(frozen=True)
class Case:
    """One judgment in the error browser. `example` carries its pictures (`illustrate` in data.py)."""

    judge: str
    benchmark: str
    example: Example
    flipped: bool

    @property
    def kind(self) -> Kind:
        """What became of the judgment; a right one is shown because its pair flips with the order."""
        row = self.example.row
        if row.fault == UNDECODABLE:
            return "undecodable"
        return "unparsed" if not row.parsed else "right" if row.right else "wrong"


@dataclass(frozen=True)
class PairwiseComparison:
    """Judge `a` against judge `b` on a benchmark."""

    benchmark: str
    a: str
    b: str
    comparison: PairedTests


@dataclass(frozen=True)
class Leaderboard:
    """Everything `render_leaderboard` shows. Each part may be absent.

    `entries` in the order of the table; `cases_found` is how many cases there were before the caller chose `cases`
    among them; `meta` is anything that JSON can hold: digests, seeds, the machine.
    """

    benchmarks: Sequence[Benchmark] = ()
    entries: Sequence[Entry] = ()
    versus: Sequence[PairwiseComparison] = ()
    cases: Sequence[Case] = ()
    cases_found: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkSection:
    """One benchmark's part of the page: charts and tables of (header, rows)."""

    name: str
    protocol: str
    figures: tuple[Figure, ...]
    details: tuple[list[str], list[Any]]
    groups: tuple[list[str], list[Any]]
    aspects: tuple[list[str], list[Any]]


def find_cases(
    rows: Sequence[JudgedRow], pairs: Iterable[PreferencePair], *, judge: str, benchmark: str, seed: int
) -> list[Case]:
    """Every judgment that is wrong, unparsed or undecodable, and both of a pair whose answer flips with the order.

    `rows` are one judge's on one benchmark in one mode, `pairs` are as stored; rows whose pair is not given are passed
    over. Drawn by `seed`, whatever the order of `rows`, so that the first so many are a fair sample to show.
    """
    stored, flips = {pair.id: pair for pair in pairs}, order_flips(rows)
    chosen = [row for row in rows if row.pair_id in stored and (not row.right or row.pair_id in flips)]
    chosen.sort(key=lambda row: (row.pair_id, row.swapped))
    return [
        Case(
            judge,
            benchmark,
            Example(row, stored[row.pair_id].swapped() if row.swapped else stored[row.pair_id]),
            row.pair_id in flips,
        )
        for row in Random(seed).sample(chosen, len(chosen))
    ]


def render_leaderboard(board: Leaderboard) -> str:
    """The leaderboard as one self-contained HTML page. The same data gives the same bytes."""
    folder = Path(__file__).parent
    environment = page_environment(Path(__file__).parent)
    environment.filters.update(signed=signed, task_name=task_name)
    script = (folder / SCRIPT).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(TEMPLATE).render(
        script=Markup(script),  # noqa: S704 - our own file, and no data is put into it
        script_digest=f"sha256-{digest}",
        benchmarks=[(each.name, protocol_words(each)) for each in board.benchmarks],
        places=places(board.benchmarks, board.entries),
        legend=[(number, colour(number), entry.name) for number, entry in enumerate(board.entries, 1)],
        sections=[_section(each, board.entries) for each in board.benchmarks],
        versus=board.versus,
        cases=[(case, _verdict_words(case), card(case.example)) for case in board.cases],
        cases_found=max(board.cases_found, len(board.cases)),
        choices=_choices(board.cases),
        facts={
            name: value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
            for name, value in board.meta.items()
        },
        missing=MISSING,
    )


def _verdict_words(case: Case) -> str:
    return "✓ right in this order" if case.kind == "right" else f"✗ {case.kind}"


def _choices(cases: Sequence[Case]) -> dict[str, list[str]]:
    """What each filter can be set to: what is there among the cases."""
    found: dict[str, set[str]] = {
        "judge": {case.judge for case in cases},
        "benchmark": {case.benchmark for case in cases},
        "task": {case.example.row.task for case in cases},
        "group": {case.example.row.group for case in cases} - {""},
        "kind": {str(case.kind) for case in cases},
    }
    return {name: sorted(values) for name, values in found.items()}


def _section(benchmark: Benchmark, entries: Sequence[Entry]) -> BenchmarkSection:
    return BenchmarkSection(
        name=benchmark.name,
        protocol=protocol_words(benchmark),
        figures=(_bars(benchmark, entries), _scatter(benchmark, entries)),
        details=detail_table(benchmark, entries),
        groups=group_table(benchmark, entries),
        aspects=aspect_table(benchmark, entries),
    )


def _bars(benchmark: Benchmark, entries: Sequence[Entry]) -> Figure:
    """Every judge's accuracy by group, over all pairs first."""
    found: list[tuple[int, str, Scores]] = []
    for number, entry in enumerate(entries, 1):
        if figures := own_figures(entry, benchmark):
            found.append((number, entry.name, figures))
    groups = [("all pairs", [Numbered(at, name, each["overall"]) for at, name, each in found if each["overall"]])]
    for group in group_names(benchmark, entries):
        of_group = [Numbered(at, name, each["groups"][group]) for at, name, each in found if group in each["groups"]]
        groups.append((group, of_group))
    shown = [(group, bars) for group, bars in groups if bars]
    text = "; ".join(
        f"{group}: " + ", ".join(f"{bar.name} {percent(bar.share['value'])} %" for bar in bars) for group, bars in shown
    )
    svg = interval_bars(shown, alt=f"Accuracy by group on {benchmark.name}. {text}") if shown else None
    return Figure("Accuracy by group", svg, "With 95 % intervals; the dashed line is at one half.")


def _scatter(benchmark: Benchmark, entries: Sequence[Entry]) -> Figure:
    dots = []
    for number, entry in enumerate(entries, 1):
        strict = entry.measured.get(benchmark.name, {}).get("strict", {})
        if strict.get("consistency") and strict["diff"]["overall"]:
            dots.append(Dot(number, entry.name, strict["diff"]["overall"], strict["consistency"]))
    text = "; ".join(
        f"{dot.name}: {percent(dot.accuracy['value'])} % and {percent(dot.consistency['value'])} %" for dot in dots
    )
    svg = scatter(dots, alt=f"Accuracy and consistency on {benchmark.name}. {text}") if dots else None
    note = "Consistency: pairs whose two answers, one an order, name the same candidate."
    return Figure("Consistency against accuracy", svg, note)
