"""The leaderboard's tables: every judge's figure on every benchmark next to the published ones, and the details."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.evaluation.benchmarks.benchmark import Benchmark, Quoted
from models.evaluation.benchmarks.protocol import paper
from models.evaluation.report.table import MISSING, Cell, interval_text, percent, signed
from models.evaluation.scores import Scores

TIES = {"diff": "ties left out", "tau": "ties counted"}
HEADLINES = ("macro", "diff", "tau", "overall")  # what a quoted figure is called if it is not a group's


@dataclass(frozen=True)
class Entry:
    """One judge: its name, and what the benchmarks' `protocol.measure` gives by the benchmark's name."""

    name: str
    measured: Mapping[str, Scores]


@dataclass(frozen=True)
class ScoreCell:
    """One benchmark's two cells in a row: by its own protocol and by ours, and what to know of them."""

    own: Cell = field(default_factory=lambda: Cell(MISSING))
    ours: Cell = field(default_factory=lambda: Cell(MISSING))
    note: str = ""


@dataclass(frozen=True)
class LeaderboardRow:
    """One row: a judge with its number, or a published model with its `source` and no number."""

    name: str
    spots: tuple[ScoreCell, ...]
    number: int | None = None
    source: str = ""


def protocol_words(benchmark: Benchmark) -> str:
    """The benchmark's own headline figure in words.

    >>> protocol_words(Benchmark("bench", lambda root: iter(()), macro=True))
    'mean over groups, ties left out'
    """
    return f"{'mean over groups' if benchmark.macro else 'over pairs'}, {TIES[benchmark.ties]}"


def places(benchmarks: Sequence[Benchmark], entries: Sequence[Entry]) -> list[LeaderboardRow]:
    """The judges in the order given, then the published rows, those of one model and source together."""
    judged = [
        LeaderboardRow(entry.name, tuple(_spot(entry.measured.get(each.name), each) for each in benchmarks), number)
        for number, entry in enumerate(entries, 1)
    ]
    published = dict.fromkeys((row.model, row.source) for each in benchmarks for row in each.quoted)
    quoted = [
        LeaderboardRow(
            model,
            tuple(_quoted_spot(_rows(each, model, source), each) for each in benchmarks),
            source=source or "source not named",
        )
        for model, source in published
    ]
    return judged + quoted


def share_cell(share: Mapping[str, Any] | None) -> Cell:
    """A share in percent with its interval."""
    return Cell(percent(share["value"]), interval_text((share["low"], share["high"]))) if share else Cell(MISSING)


def own_figures(entry: Entry, benchmark: Benchmark) -> Scores | None:
    """What the benchmark's own protocol counts, strict; `None` if not judged, and for ties if the judge gives none."""
    if benchmark.name not in entry.measured:
        return None
    figures: Scores | None = entry.measured[benchmark.name]["strict"][benchmark.ties]
    return figures


def group_names(benchmark: Benchmark, entries: Sequence[Entry]) -> list[str]:
    """The official groups in their order, then any others that were judged or quoted."""
    found: dict[str, None] = dict.fromkeys(benchmark.groups)
    for entry in entries:
        figures = own_figures(entry, benchmark)
        found |= dict.fromkeys(figures["groups"] if figures else ())
    found |= {name: None for row in benchmark.quoted for name in row.figures if name not in HEADLINES}
    return list(found)


def group_table(benchmark: Benchmark, entries: Sequence[Entry]) -> tuple[list[str], list[list[Cell]]]:
    """The header, and a row a group: every judge's accuracy in it, and the quoted ones marked as such."""
    published = [row for row in benchmark.quoted if any(name not in HEADLINES for name in row.figures)]
    header = ["Group", *(entry.name for entry in entries), *(f"{row.model} (quoted)" for row in published)]
    rows = []
    for name in group_names(benchmark, entries):
        cells = []
        for entry in entries:
            figures = own_figures(entry, benchmark)
            cells.append(share_cell(figures["groups"].get(name) if figures else None))
        rows.append([Cell(name), *cells, *(_plain(row.figures.get(name)) for row in published)])
    return header, rows


def detail_table(benchmark: Benchmark, entries: Sequence[Entry]) -> tuple[list[str], list[list[Cell]]]:
    """The header, and a row a judge: all accuracies, both orders, bias, and what could not be counted."""
    header = ["Judge", "Judged pairs", "Over pairs", "Mean over groups", "Ties counted", "Without undecodable"]
    header += ["Both orders", "Consistent", "Position bias", "Unparsed", "Refused", "Undecodable"]
    header += ["Over pairs, lenient", "Valid, lenient"]
    rows = []
    for entry in entries:
        measured = entry.measured.get(benchmark.name)
        if measured is None:
            continue
        strict, bias = measured["strict"], measured["position_bias"]
        shares = [strict["diff"]["overall"], strict["diff"]["macro"], (strict["tau"] or {}).get("overall")]
        shares += [measured["listed"]["diff"]["overall"], strict["diff"]["both_orders"], strict["consistency"]]
        unparsed, refused, lenient = measured["unparsed"], measured["refused"], measured.get("lenient", {})
        valid = lenient.get("valid", {}).get("share")
        judged = f"{measured['judged']} of {measured['pairs']}"
        rows.append(
            [
                *(Cell(entry.name), Cell(judged), *map(share_cell, shares)),
                Cell(signed(bias)),
                Cell(str(unparsed["count"]), "" if unparsed["share"] is None else f"{percent(unparsed['share'])} %"),
                Cell(str(refused["count"]), ", ".join(f"{why} ({count})" for why, count in refused["reasons"].items())),
                Cell(str(measured["undecodable"]["count"])),
                share_cell(lenient.get("overall")),
                Cell(MISSING if valid is None else f"{percent(valid)} %"),
            ]
        )
    return header, rows


def aspect_table(benchmark: Benchmark, entries: Sequence[Entry]) -> tuple[list[str], list[list[Cell]]]:
    """The header, and a row an aspect with every judge's accuracy on it, ties left out; no rows without aspects."""
    of = [entry.measured.get(benchmark.name, {}).get("aspects", {}) for entry in entries]
    names = sorted({name for aspects in of for name in aspects})
    header = ["Aspect", *(entry.name for entry in entries)]
    return header, [
        [Cell(name), *(share_cell(one[name]["strict"]["diff"]["overall"] if name in one else None) for one in of)]
        for name in names
    ]


def _spot(measured: Scores | None, benchmark: Benchmark) -> ScoreCell:
    if measured is None:
        return ScoreCell()
    got, notes = paper(measured, benchmark), []
    if lost := measured["undecodable"]["count"]:
        without = share_cell(got["listed"]).value
        notes.append(f"judged {measured['judged']} of {measured['pairs']} pairs")
        notes.append(f"{lost} undecodable counted as wrong; {without} without")
    if refused := measured["refused"]["count"]:
        notes.append(f"{refused} answers refused, counted as wrong")
    if benchmark.macro and got["missing_groups"]:
        notes.append(f"no pairs of {', '.join(got['missing_groups'])}")
    return ScoreCell(share_cell(got["strict"]), share_cell(got["ours"]), "; ".join(notes))


def _rows(benchmark: Benchmark, model: str, source: str) -> list[Quoted]:
    return [row for row in benchmark.quoted if (row.model, row.source) == (model, source)]


def _quoted_spot(rows: Sequence[Quoted], benchmark: Benchmark) -> ScoreCell:
    """The published figure that is most like the benchmark's own; all others, and any mismatch, are named beside."""
    figures = {name: value for row in rows for name, value in row.figures.items() if name in HEADLINES}
    like = ("macro",) if benchmark.macro else (benchmark.ties, "overall")
    main = next((name for name in like if name in figures), None)
    others = [f"{name} {_plain(value).value}" for name, value in figures.items() if name != main]
    return ScoreCell(own=_plain(figures.get(main or "")), note="; ".join(others))


def _plain(percentage: float | None) -> Cell:
    return Cell(MISSING if percentage is None else f"{percentage:.1f}")
