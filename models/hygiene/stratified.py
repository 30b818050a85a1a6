"""Choosing pairs by weights: so many a task, shared among the sources, mixed, and the same in whatever order they come.

A source's pairs are ordered by a digest of (seed, source, id), and the first so many are taken. How many: the total is
shared in proportion to the weights; a source that has fewer gives all, and what it lacks is shared again among the
others in proportion to theirs, until it fits. Fractions go to the largest remainders, of equal ones to the name that
sorts first. Sources of weight 0 give nothing.
"""

import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from hashlib import sha256
from math import isfinite

from models.errors import ConfigError
from models.hygiene.known import Known, ordered
from models.preference import Task


def stratified(pairs: Iterable[Known], weights: Mapping[str, float], *, per_task: int | None, seed: int) -> list[Known]:
    """At most `per_task` pairs of each task (none: all there are), by the weights of their sources.

    Task by task. Within one the sources are spread evenly: of the first N a source has as large a share as of all,
    give or take about one pair for every two sources. Raises `ConfigError` for a source without a weight, and for a
    weight that is negative or no number.
    """
    by_task: dict[Task, dict[str, list[Known]]] = {task: {} for task in Task}
    for pair in ordered(pairs):
        by_task[pair.task].setdefault(pair.source, []).append(pair)
    checked = _checked(weights, {source for sources in by_task.values() for source in sources})
    chosen: list[Known] = []
    for sources in by_task.values():
        there = {source: len(own) for source, own in sources.items() if checked[source]}
        total = sum(there.values())
        counts = shares(total if per_task is None else min(per_task, total), checked, there)
        chosen += _mixed({source: sources[source] for source in there}, counts, seed)
    return chosen


def shares(total: int, weights: Mapping[str, Fraction], there: Mapping[str, int]) -> dict[str, int]:
    """How many of `there` each source gives, `total` together, which is not more than there are.

    >>> shares(10, {"a": Fraction(3), "b": Fraction(1), "c": Fraction(1)}, {"a": 2, "b": 99, "c": 99})
    {'a': 2, 'b': 4, 'c': 4}
    """
    given: dict[str, int] = {}
    open_ones = sorted(there)
    while True:
        left = total - sum(given.values())
        sum_of_weights = sum((weights[source] for source in open_ones), Fraction(0))
        wanted = {source: left * weights[source] / sum_of_weights for source in open_ones}
        short = [source for source in open_ones if wanted[source] >= there[source]]
        if not short:
            break
        given |= {source: there[source] for source in short}
        open_ones = [source for source in open_ones if source not in short]
    given |= {source: int(share) for source, share in wanted.items()}
    by_remainder = sorted(open_ones, key=lambda source: (int(wanted[source]) - wanted[source], source))
    for source in by_remainder[: total - sum(given.values())]:
        given[source] += 1
    return dict(sorted(given.items()))


def _mixed(sources: Mapping[str, list[Known]], counts: Mapping[str, int], seed: int) -> list[Known]:
    placed: list[tuple[float, bytes, Known]] = []
    for source, own in sources.items():
        drawn = sorted((_drawn(seed, pair), pair.id, pair) for pair in own)[: counts[source]]
        placed += [((place + 0.5) / len(drawn), key, pair) for place, (key, _, pair) in enumerate(drawn)]
    return [pair for _, _, pair in sorted(placed, key=lambda one: one[:2])]


def _drawn(seed: int, pair: Known) -> bytes:
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
