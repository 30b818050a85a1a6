"""A trainer's way out: what it calls when it has figures, a checkpoint or a better model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OnCheckpoint = Callable[[Path, int], None]
OnMetrics = Callable[[int, Mapping[str, float]], None]
OnProgress = Callable[[int, int], None]
OnCompletions = Callable[[int, list[dict[str, Any]]], None]


@dataclass
class Hooks:
    """What a trainer calls, of several processes on the first alone.

    `on_checkpoint(directory, step)` when a checkpoint is whole, `on_metrics(step, values)`, `on_progress(done, total)`
    in steps; of GRPO `on_best(directory, step)` for a new best model, and `on_completions(step, rows)` for tables.
    """

    on_checkpoint: OnCheckpoint = field(default=lambda directory, step: None)
    on_metrics: OnMetrics = field(default=lambda step, values: None)
    on_progress: OnProgress = field(default=lambda done, total: None)
    on_best: OnCheckpoint = field(default=lambda directory, step: None)
    on_completions: OnCompletions = field(default=lambda step, rows: None)
