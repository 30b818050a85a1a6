"""Which kinds of pair a judge's figures are averaged over, beside the mean over all pairs.

A kind is a task's `group`, as its source names it: of the embedded world the flaw or the kind of question, of a public
benchmark its official group, of pairs of one's own whatever their rows say. Other sources use the field for origins or
categories without end, or leave it empty, and a mean over such groups would be one over a few pairs each. So there are
kinds only where every pair judged has a group and every task has at most `MOST_KINDS` of them, each of at least
`LEAST_PAIRS` pairs, and more than one in some task. Elsewhere the macro average is over tasks, as it always was: all or
nothing, so that no task counts more than another for having kinds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from models.evaluation.judged_rows import JudgedRow

Over = Literal["tasks", "kinds"]
OVER: tuple[Over, ...] = ("tasks", "kinds")

MOST_KINDS = 20  # of a task; more are categories, and no table of them is read
LEAST_PAIRS = 10  # of a kind: of 28 kinds with fewer, one pair moves the macro average by over a third of a point


@dataclass(frozen=True)
class Strata:
    """Rows by what a macro average counts alike: `task/kind`, or the task where there are no kinds."""

    over: Over
    rows: Mapping[str, list[JudgedRow]]


def strata(rows: Iterable[JudgedRow]) -> Strata:
    """The kinds of these judgments (of one mode), or their tasks; by name."""
    by_task: dict[str, dict[str, list[JudgedRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_task[row.task][row.group].append(row)
    if _have_kinds(by_task):
        kinds = {kind_name(task, group): found for task, groups in by_task.items() for group, found in groups.items()}
        return Strata("kinds", dict(sorted(kinds.items())))
    tasks = {task: [row for found in groups.values() for row in found] for task, groups in by_task.items()}
    return Strata("tasks", dict(sorted(tasks.items())))


def kind_name(task: str, group: str) -> str:
    """`video_generation/flicker`."""
    return f"{task}/{group}"


def _have_kinds(by_task: Mapping[str, Mapping[str, list[JudgedRow]]]) -> bool:
    groups = [(group, found) for groups in by_task.values() for group, found in groups.items()]
    return (
        len(groups) > len(by_task)
        and all(len(groups) <= MOST_KINDS for groups in by_task.values())
        and all(group and len({row.pair_id for row in found}) >= LEAST_PAIRS for group, found in groups)
    )
