"""What models wrote while the recipe ran: the teacher's answers, samples, GRPO's completions, kept or not and why."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import pyarrow.parquet as pq

from configs.schema import Settings
from models.errors import ThinkrewardError
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.report.cards import Card, card
from models.evaluation.report.data import Example, illustrate
from tasks.store.artifact_types import ArtifactRef, IndexEntry
from tasks.store.artifacts import Store
from tasks.tracking.client import read_tables
from tasks.workbench.pairs import open_dataset, training_pairs

Source = Literal["teacher", "samples", "grpo"]
SOURCES: dict[Source, tuple[str, str]] = {
    "teacher": ("Teacher", "distill"),
    "samples": ("Rejection sampling", "rejection-sampling"),
    "grpo": ("GRPO", "grpo"),
}
PER_PAGE = 10
SPARE = "right, but another one was kept"


@dataclass(frozen=True)
class Trace:
    """One text: about which pair and in which order if that is known, and why it was rejected, empty if it was not."""

    text: str
    rejection: str
    task: str = ""
    pair_id: str = ""
    swapped: bool = False
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What a person wants to see; empty means all."""

    task: str = ""
    outcome: str = ""
    reason: str = ""
    words: str = ""

    def fits(self, trace: Trace) -> bool:
        """Whether it is among what is wanted. `words` are looked for in the text and in the pair's id."""
        return (
            (not self.task or trace.task == self.task)
            and (not self.outcome or (self.outcome == "accepted") == (not trace.rejection))
            and (not self.reason or trace.rejection == self.reason)
            and (not self.words or self.words.lower() in f"{trace.text} {trace.pair_id}".lower())
        )


@dataclass(frozen=True)
class TraceView:
    """A trace with what is known of its pair."""

    trace: Trace
    card: Card | None


def newest(store: Store, source: Source) -> IndexEntry | None:
    """The newest result of the stage that wrote these texts."""
    return store.newest(SOURCES[source][1])


def read_traces(settings: Settings, store: Store, source: Source, entry: IndexEntry) -> list[Trace]:
    """All texts of a stage's result. Raises `StoreError` or `TrackingError`."""
    if source == "grpo":
        run = entry.run_ids.get("mlflow")
        return _completions(settings.tracking.uri, run) if run else []
    if source == "teacher":
        return _teacher(store, entry.outputs["distilled"])
    return _samples(store, entry.outputs["trajectories"])


@lru_cache(maxsize=4)
def _teacher(store: Store, distilled: ArtifactRef) -> list[Trace]:
    folder, traces = store.fetch(distilled), []
    for name in ("rejected.parquet", "distilled.parquet"):
        rows = pq.read_table(folder / name).to_pylist() if (folder / name).is_file() else []
        traces += [Trace(row["completion"], row.get("rejection") or "", row["task"], row["pair_id"]) for row in rows]
    return sorted(traces, key=lambda one: one.pair_id)


@lru_cache(maxsize=4)
def _samples(store: Store, trajectories: ArtifactRef) -> list[Trace]:
    folder = store.fetch(trajectories)
    tasks = {row["pair_id"]: row["task"] for row in pq.read_table(folder / "pass_rates.parquet").to_pylist()}
    file = folder / "kept.parquet"  # not there if nothing was kept
    kept = {_sample(row) for row in pq.read_table(file).to_pylist()} if file.is_file() else set()
    return [
        Trace(
            row["text"],
            row["rejection"] or ("" if _sample(row) in kept else SPARE),
            tasks[row["pair_id"]],
            row["pair_id"],
            row["swapped"],
        )
        for row in pq.read_table(folder / "sampled.parquet").to_pylist()
    ]


def _sample(row: Mapping[str, Any]) -> tuple[str, bool, str]:
    return row["pair_id"], row["swapped"], row["text"]


@lru_cache(maxsize=4)
def _completions(uri: str, run: str) -> list[Trace]:
    """GRPO's table of completions; which pair each is about is not in it. Accepted is what earns every reward."""
    traces = []
    for step, rows in read_tables(uri, run, "completions"):
        for row in rows:
            rewards = {name.removesuffix("_reward"): row[name] for name in row if name.endswith("_reward")}
            missed = [name for name, value in rewards.items() if value is None or value < 1]
            figures = [("step", str(step)), ("advantage", _figure(row["advantage"]))]
            figures += [(name, _figure(value)) for name, value in rewards.items()]
            traces.append(Trace(row["completion"], ", ".join(f"no {one}" for one in missed), figures=tuple(figures)))
    return traces


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def reasons(traces: Iterable[Trace]) -> list[tuple[str, int]]:
    """Why texts were rejected, the commonest first, and how many of them."""
    return Counter(trace.rejection for trace in traces if trace.rejection).most_common()


def illustrated(settings: Settings, store: Store, entry: IndexEntry, traces: Sequence[Trace]) -> list[TraceView]:
    """The traces with their pairs' texts and pictures, as far as those are known and can be read."""
    try:
        dataset = open_dataset(settings, store, entry.inputs["preferences"])
        pairs = training_pairs(dataset)
    except ThinkrewardError:
        return [TraceView(trace, None) for trace in traces]
    shown = []
    for trace in traces:
        pair = pairs.get(trace.pair_id)
        if pair is None:
            shown.append(TraceView(trace, None))
            continue
        presented = pair.swapped() if trace.swapped else pair
        row = JudgedRow.read(presented, "think", trace.swapped, trace.text, truncated=False)
        (example,) = illustrate([Example(row, presented)], dataset.frames)
        shown.append(TraceView(trace, card(example)))
    return shown
