"""Some judges on some benchmarks, side by side: scores by both protocols, comparisons, and the page that shows them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from configs.schema import Settings
from models.evaluation.benchmarks.comparison import compare
from models.evaluation.benchmarks.protocol import measure, paper
from models.evaluation.benchmarks.registry import benchmark as named
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.leaderboard.page import Case, Leaderboard, PairwiseComparison, find_cases, render_leaderboard
from models.evaluation.leaderboard.tables import Entry
from models.evaluation.report.data import illustrate
from models.generation.endpoint_fields import describe_fields
from models.generation.protocol import Progress
from tasks.data.importing import Place
from tasks.judging.benchmarks import BenchmarkSet, NamedJudge, Protocol, judged, open_benchmark
from tasks.pipeline.run import open_store
from tasks.store.artifact_types import ArtifactRef
from tasks.tracking.runs import Tracker

# Of scores.json. 2: position_bias is from -0.5 to 0.5; files of before, which name no version, have it from -1 to 1.
SCORES_VERSION = 2
CASES_SHOWN = 60  # wrong, unparsed or flipped judgments a judge and benchmark


@dataclass(frozen=True)
class BenchmarkResult:
    """The scores as plain JSON, the page, and the artifact that holds both."""

    scores: dict[str, Any]
    page: str
    ref: ArtifactRef

    @property
    def table(self) -> list[list[str]]:
        """A header, and a line for each judge and benchmark."""
        header = ["judge", "benchmark", "paper's protocol", "ours", "judged", "unparsed", "refused", "undecodable"]
        return [[*header, "lenient"]] + [
            [
                judge,
                name,
                share_text(figures["paper"]["strict"]),
                share_text(figures["paper"]["ours"]),
                f"{figures['judged']} of {figures['pairs']}",
                str(figures["unparsed"]["count"]),
                refused_text(figures["refused"]),
                str(figures["undecodable"]["count"]),
                share_text(figures["lenient"]["overall"]),
            ]
            for judge, measured in self.scores["judges"].items()
            for name, figures in measured.items()
        ]


def share_text(figure: dict[str, float] | None) -> str:
    """A share in percent with its 95 % interval; a dash where nothing was counted."""
    return f"{figure['value']:.1%} ({figure['low']:.1%} to {figure['high']:.1%})" if figure else "–"


def refused_text(refused: Mapping[str, Any]) -> str:
    """How many answers were refused, with the reasons."""
    reasons = ", ".join(f"{reason} ({count})" for reason, count in refused["reasons"].items())
    return f"{refused['count']}: {reasons}" if reasons else "0"


def run_benchmarks(
    settings: Settings, places: Sequence[Place], judges: Sequence[str], protocol: Protocol, on_progress: Progress
) -> BenchmarkResult:
    """Judge, score, compare and publish. Raises `ConfigError` for a judge or benchmark that is not there."""
    store = open_store(settings)
    benchmarks = [named(place.name) for place in places]
    sets = [open_benchmark(store, settings, place, protocol) for place in places]
    rows: dict[tuple[str, str], list[JudgedRow]] = {}
    sent: dict[str, dict[str, Any]] = {}
    asked = [NamedJudge(name, settings) for name in judges]
    for judge in asked:
        for benchmark, pairs in zip(benchmarks, sets, strict=True):
            answers = judged(store, judge, pairs, protocol, on_progress)
            rows[judge.name, benchmark.name] = answers.rows
            if answers.fields is not None:
                sent[f"{judge.name} on {benchmark.name}"] = answers.fields
    bootstrap, seed = settings.evaluate.bootstrap, settings.seed
    videos = {judge.name: judge.shown_videos for judge in asked}
    scores: dict[str, Any] = {
        "version": SCORES_VERSION,
        "protocol": vars(protocol),
        "videos": videos,
        "sent": sent,
        "judges": {},
    }
    entries, cases = [], []
    for name in judges:
        measured = {}
        for benchmark, pairs in zip(benchmarks, sets, strict=True):
            own = rows[name, benchmark.name]
            can_tie = protocol.mode == "direct"  # thinking answers have no tie (models/verdict/grammar.py)
            measured[benchmark.name] = measure(
                own, bootstrap=bootstrap, seed=seed, can_tie=can_tie, aspects=pairs.aspects
            )
            cases += _cases(own, pairs, name, benchmark.name, settings.seed)
        entries.append(Entry(name, measured))
        scores["judges"][name] = {
            one.name: {**measured[one.name], "paper": paper(measured[one.name], one)} for one in benchmarks
        }
    versus = []
    for one in benchmarks:
        for a, b in pairwise(judges):
            of_a, of_b = rows[a, one.name], rows[b, one.name]
            difference = compare(of_a, of_b, mode=protocol.mode, bootstrap=bootstrap, seed=seed, ties=one.ties)
            versus.append(PairwiseComparison(one.name, a, b, difference))
    scores["comparisons"] = [asdict(one) for one in versus]
    meta: dict[str, Any] = {"protocol": vars(protocol), "videos shown as": videos}
    meta |= {f"fields of requests, {name}": describe_fields(fields) for name, fields in sent.items()}
    board = Leaderboard(benchmarks, entries, versus, cases, len(cases), meta=meta)
    page = render_leaderboard(board)
    with TemporaryDirectory(prefix="thinkreward-leaderboard-") as folder:
        (Path(folder) / "leaderboard.html").write_text(page, encoding="utf-8")
        (Path(folder) / "scores.json").write_text(json.dumps(scores, indent=1, sort_keys=True) + "\n")
        ref = store.publish("leaderboard", Path(folder), metadata={"judges": list(judges)})
        _track(settings, Path(folder), scores)
    return BenchmarkResult(scores, page, ref)


def _cases(rows: list[JudgedRow], pairs: BenchmarkSet, judge: str, benchmark: str, seed: int) -> list[Case]:
    found = find_cases(rows, pairs.pairs, judge=judge, benchmark=benchmark, seed=seed)[:CASES_SHOWN]
    shown = illustrate([one.example for one in found], pairs.frames)
    return [Case(judge, benchmark, example, one.flipped) for one, example in zip(found, shown, strict=True)]


def _track(settings: Settings, folder: Path, scores: dict[str, Any]) -> None:
    """The scores and the page as an MLflow run."""
    tracker = Tracker.connect(settings.tracking.uri, settings.tracking.experiment)
    with tracker.run("benchmarks", tags={"thinkreward.stage": "benchmarks"}, params={}) as run:
        run.log_metrics(
            {
                f"{judge}/{name}".replace(":", "_").replace("@", "_"): measured["paper"]["strict"]["value"]
                for judge, by_benchmark in scores["judges"].items()
                for name, measured in by_benchmark.items()
                if measured["paper"]["strict"] is not None
            },
            step=0,
        )
        for name in ("leaderboard.html", "scores.json"):
            run.log_file(folder / name, name)
