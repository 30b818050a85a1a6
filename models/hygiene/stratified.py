"""Choosing pairs by weights: so many a task, shared among the sources, mixed, and the same in whatever order they come.

A source's pairs are ordered by a digest of (seed, source, id). Its k-th, counted from 0, is at (k + 1/2) / weight,
and a task's pairs are taken in the order of these places: the divisor method of Webster and Sainte-Lague (Balinski and
Young, Fair Representation, 1982). So any first N of a task are shared by the weights as well, and a source that has no
more leaves its share to the others by theirs. Of equal places the name that sorts first is first. Sources of weight
0 give nothing.
"""

import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from hashlib import sha256
from math import isfinite

from models.errors import ConfigError
from models.hygiene.dedup_record import DedupRecord, ordered
from models.pairs.preference import Task

HALF = Fraction(1, 2)


def stratified(
    pairs: Iterable[DedupRecord], weights: Mapping[str, float], *, per_task: int | None, seed: int
) -> list[DedupRecord]:
    """At most `per_task` pairs of each task (none: all there are), by the weights of their sources; task by task.

    A larger number begins with what a smaller one gives. Raises `ConfigError` for a source without a weight, and for a
    weight that is negative or no number.
    """
    by_task: dict[Task, dict[str, list[DedupRecord]]] = {task: {} for task in Task}
    for pair in ordered(pairs):
        by_task[pair.task].setdefault(pair.source, []).append(pair)
    checked = _checked(weights, {source for sources in by_task.values() for source in sources})
    chosen: list[DedupRecord] = []
    for sources in by_task.values():
        placed: list[tuple[Fraction, str, DedupRecord]] = []
        for source in (source for source in sources if checked[source]):
            drawn = sorted(sources[source], key=lambda pair: (_drawn(seed, pair), pair.id))
            placed += [((at + HALF) / checked[source], source, pair) for at, pair in enumerate(drawn)]
        placed.sort(key=lambda one: one[:2])
        chosen += [pair for _, _, pair in placed[:per_task]]
    return chosen


def _drawn(seed: int, pair: DedupRecord) -> bytes:
    return sha256(json.dumps([seed, pair.source, pair.id]).encode()).digest()


def _checked(weights: Mapping[str, float], sources: Iterable[str]) -> dict[str, Fraction]:
    for source in sorted(sources):
        if source not in weights:
            raise ConfigError(f"source {source!r} has no weight among those of {sorted(weights)}: give it one")
    for source, weight in sorted(weights.items()):
        if not isfinite(weight) or weight < 0:
            raise ConfigError(f"the weight of source {source!r} is {weight}: give a number of 0 or more")
    # Exact, so that no order of adding changes a share.
    return {source: Fraction(weight) for source, weight in weights.items()}
