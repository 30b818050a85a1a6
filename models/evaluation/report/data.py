"""What a report shows, as plain data: anything missing is simply not part of the run.

Shares and accuracies are fractions from 0 to 1, times are seconds, memory is MiB.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from PIL import Image

from models.errors import MediaError
from models.evaluation.judged_rows import JudgedRow
from models.media.frames import data_url, shrink
from models.pairs.preference import Media, PreferencePair, Task

MAX_PICTURE_PIXELS = 160 * 160  # of a frame inside the report: keeps a file of large videos mailable
PASS_RATE_BINS = ("0", "≤ 25", "≤ 50", "≤ 75", "< 100", "100")  # percent

Point = tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """One frame as a PNG data URL, with its size in pixels."""

    url: str
    width: int
    height: int


@dataclass(frozen=True)
class Example:
    """A judgment with its pair as presented. `pictures` holds each medium's frames by uri, see `illustrate`."""

    row: JudgedRow
    pair: PreferencePair
    pictures: Mapping[str, tuple[Picture, ...]] = field(default_factory=dict)

    def frames(self, media: Media) -> tuple[Picture, ...]:
        """The frames to show for a medium; none if it could not be read."""
        return self.pictures.get(media.uri, ())


@dataclass(frozen=True)
class ModelEntry:
    """A model's name (`base`, `cold-start`, …) and its `models.evaluation.scores.score`."""

    name: str
    scores: Mapping[str, Any]


@dataclass(frozen=True)
class ReportData:
    """Everything `render_report` shows. Each part may be absent.

    - `models`: in the order of the stages; the last one is the final model.
    - `oracle`: the judge that is the ceiling, if one was asked.
    - `differences`: `{"from", "to", "mean", "low", "high", "pairs"}` each, accuracy of `to` minus that of `from`,
      with `mode` if it is not thinking, and the same over kinds in `macro`. The one from `cold-start` to the final
      model also feeds the headline.
    - `distill_yield`: `{"asked", "answered", "kept", "rejected": {reason: count}}`.
    - `pass_rates`: `{"pass_rate", "task"}` a pair of rejection sampling.
    - `grpo_history`: rows with a `step` and any of TRL's metrics, and `validation/accuracy`. The chosen checkpoint
      is the first best one, as GRPO chooses it, unless a row has `"chosen": true`.
    - `examples`: from `choose_examples`, then `illustrate`.
    - `stages`: `{"name", "state", "seconds", "peak_memory_mib", "key", "artifacts"}` each.
    - `meta`: configuration, seeds, digests, machine: anything that JSON can hold.
    """

    models: Sequence[ModelEntry] = ()
    oracle: ModelEntry | None = None
    differences: Sequence[Mapping[str, Any]] = ()
    distill_yield: Mapping[str, Any] | None = None
    pass_rates: Sequence[Mapping[str, Any]] | None = None
    grpo_history: Sequence[Mapping[str, Any]] = ()
    examples: Sequence[Example] = ()
    stages: Sequence[Mapping[str, Any]] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


def choose_examples(
    rows: Iterable[JudgedRow], pairs: Iterable[PreferencePair], *, per_task: int, seed: int
) -> list[Example]:
    """At most `per_task` thinking judgments a task, right ones before wrong ones, half of each where there are enough.

    `pairs` are as stored; each example carries its pair as presented. Drawn by `seed` whatever the order of
    `rows`, one judgment a pair, spread over the groups. Rows whose pair is not given are passed over.
    """
    stored = {(str(pair.task), pair.id): pair for pair in pairs}
    by_task: dict[str, list[JudgedRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.pair_id, row.swapped)):
        if row.mode == "think" and (row.task, row.pair_id) in stored:
            by_task[row.task].append(row)
    chosen = []
    for task in filter(by_task.__contains__, map(str, Task)):
        drawn = _spread(by_task[task], Random(f"{seed}/{task}"))
        right, wrong = [row for row in drawn if row.right], [row for row in drawn if not row.right]
        wrongs = min(len(wrong), max((per_task + 1) // 2, per_task - len(right)))
        chosen += right[: per_task - wrongs] + wrong[:wrongs]
    return [Example(row, _presented(stored[row.task, row.pair_id], row)) for row in chosen]


def _spread(rows: Sequence[JudgedRow], rng: Random) -> list[JudgedRow]:
    """One row a pair in random order, every group's first before any group's second, right and wrong apart.

    A pair that is right in one order and wrong in the other shows as wrong.
    """
    one_a_pair: dict[str, JudgedRow] = {}
    for row in rng.sample(rows, len(rows)):
        if row.pair_id not in one_a_pair or not row.right:
            one_a_pair[row.pair_id] = row
    seen: dict[tuple[bool, str], int] = defaultdict(int)
    ranked = []
    for row in one_a_pair.values():
        ranked.append((seen[row.right, row.group], row))
        seen[row.right, row.group] += 1
    return [row for _, row in sorted(ranked, key=lambda each: each[0])]


def _presented(pair: PreferencePair, row: JudgedRow) -> PreferencePair:
    return pair.swapped() if row.swapped else pair


def illustrate(examples: Iterable[Example], frames: Callable[[str], Sequence[Image.Image]]) -> list[Example]:
    """The examples with their media as pictures; `frames(uri)` gives a medium's frames.

    The place of a medium that cannot be read has the reason: one bad file costs no report.
    """
    drawn: dict[str, tuple[Picture, ...]] = {}

    def pictures(uri: str) -> tuple[Picture, ...]:
        if uri not in drawn:
            try:
                drawn[uri] = tuple(_picture(frame) for frame in frames(uri))
            except MediaError:
                drawn[uri] = ()
        return drawn[uri]

    return [
        replace(each, pictures={media.uri: pictures(media.uri) for media in each.pair.media()}) for each in examples
    ]


def _picture(frame: Image.Image) -> Picture:
    small = shrink(frame, MAX_PICTURE_PIXELS)
    return Picture(url=data_url(small), width=small.width, height=small.height)


def pass_rate_bins(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Pairs by pass rate for each task, in the bins of `PASS_RATE_BINS`: all wrong and all right are bins of their own.

    >>> pass_rate_bins([{"task": "image_generation", "pass_rate": rate} for rate in (0.0, 0.25, 0.3, 1.0)])
    {'image_generation': [1, 1, 1, 0, 0, 1]}
    """
    bins: dict[str, list[int]] = {}
    for row in rows:
        rate = float(row["pass_rate"])
        place = 0 if rate <= 0 else 5 if rate >= 1 else math.ceil(rate * 4)
        bins.setdefault(str(row["task"]), [0] * len(PASS_RATE_BINS))[place] += 1
    known = {str(task): number for number, task in enumerate(Task)}
    return {task: bins[task] for task in sorted(bins, key=lambda task: (known.get(task, len(known)), task))}


def points(history: Iterable[Mapping[str, Any]], metric: str) -> list[Point]:
    """A metric's finite values as (step, value), in order of the steps; the last value where a step repeats.

    A resumed run logs some steps twice. `train/` before a metric's name, as MLflow shows it, is no matter.
    """
    found: dict[float, float] = {}
    for row in history:
        value = row.get(metric, row.get(f"train/{metric}"))
        if isinstance(value, int | float) and isinstance(row.get("step"), int | float) and math.isfinite(value):
            found[float(row["step"])] = float(value)
    return sorted(found.items())


def chosen_step(history: Sequence[Mapping[str, Any]], metric: str) -> float | None:
    """The step of the checkpoint that was passed downstream: marked `chosen`, else the first best of `metric`."""
    for row in history:
        if row.get("chosen") and "step" in row:
            return float(row["step"])
    values = points(history, metric)
    return max(values, key=lambda point: (point[1], -point[0]))[0] if values else None
