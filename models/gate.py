"""The gate before a model becomes champion: pure arithmetic, no registry.

A challenger passes when it reasons validly often enough, is right in both presentation orders often
enough, and is not shown to be less accurate than the champion by more than what is allowed.
"""

import math
from dataclasses import dataclass

Interval = tuple[float, float]


@dataclass(frozen=True)
class GateFacts:
    """What the gate looks at, all shares between 0 and 1, thinking mode on the held-out pairs.

    `valid_rate` is the share of answers inside the grammar, `both_orders` the share of pairs right in
    both presentation orders.
    """

    accuracy: float
    valid_rate: float
    both_orders: float


@dataclass(frozen=True)
class GateDecision:
    """Whether the challenger passes, and why, in sentences: what failed, or if nothing did, what held."""

    passed: bool
    reasons: tuple[str, ...]


def decide(
    challenger: GateFacts,
    champion: GateFacts | None,
    *,
    difference_interval: Interval | None,
    min_valid_rate: float,
    min_both_orders: float,
    max_accuracy_drop: float,
) -> GateDecision:
    """Whether the challenger may replace the champion (None: there is none yet).

    `difference_interval` is the paired 95 % interval of accuracy, challenger minus champion. The gate
    fails on accuracy only if even its upper end lies below `-max_accuracy_drop`. Without an interval (the two
    were not judged on the same pairs) the plain difference decides. NaN never passes. Raises
    `ValueError` for an interval whose ends are the wrong way round.

    >>> facts = GateFacts(accuracy=0.9, valid_rate=0.99, both_orders=0.5)
    >>> decide(facts, None, difference_interval=None, min_valid_rate=0.95, min_both_orders=0.6, max_accuracy_drop=0.0)
    GateDecision(passed=False, reasons=('Right in both orders on 50.0 % of the pairs, below the limit of 60.0 %.',))
    """
    checks = (
        _at_least("Valid reasoning in {} of the answers", challenger.valid_rate, min_valid_rate),
        _at_least("Right in both orders on {} of the pairs", challenger.both_orders, min_both_orders),
        _accuracy(challenger, champion, difference_interval, max_accuracy_drop),
    )
    failed = tuple(sentence for holds, sentence in checks if not holds)
    return GateDecision(passed=not failed, reasons=failed or tuple(sentence for _, sentence in checks))


def _at_least(what: str, found: float, limit: float) -> tuple[bool, str]:
    holds = found >= limit
    relation = "at or above" if holds else "below"
    return holds, f"{what.format(_percent(found))}, {relation} the limit of {_percent(limit)}."


def _accuracy(
    challenger: GateFacts, champion: GateFacts | None, interval: Interval | None, allowed: float
) -> tuple[bool, str]:
    if math.isnan(challenger.accuracy):
        return False, "The challenger's accuracy is not a number: evaluate it again."
    if champion is None:
        return True, f"Accuracy {_percent(challenger.accuracy)}; there is no champion to compare with."
    if interval is not None and interval[0] > interval[1]:
        raise ValueError(f"difference_interval {interval} has its ends the wrong way round: give (low, high)")
    difference = challenger.accuracy - champion.accuracy
    best_case = difference if interval is None else interval[1]
    holds = best_case >= -allowed
    measured = (
        "not paired, so the plain difference decides"
        if interval is None
        else f"95 % interval {_points(interval[0])} to {_points(interval[1])}"
    )
    return holds, (
        f"Accuracy {_percent(challenger.accuracy)} against the champion's {_percent(champion.accuracy)}, "
        f"a difference of {_points(difference)} points ({measured}), "
        f"{'within' if holds else 'beyond'} the allowed drop of {100 * allowed:.1f} points."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
