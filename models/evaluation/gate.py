"""The gate before a model becomes champion: pure arithmetic, no registry.

A challenger passes when it reasons validly often enough, is right in both presentation orders often enough, and is
shown to be no worse than each model it is held against by more than a margin. Shown means: the lower end of the paired
95 % interval of the difference lies above minus the margin (a test of non-inferiority at 2.5 %; Schuirmann 1987).
Whatever cannot be shown, for lack of pairs or of the other model's answers, does not pass.

It is held against the champion and against a reference that stands still, since challengers that are each a little
worse than the last champion would else walk it down, night after night.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.evaluation.comparison import Comparison
from models.evaluation.statistics import Estimate

POINTS = 100


@dataclass(frozen=True)
class GateLimits:
    """What the gate demands, all fractions: 0.01 is one point. A margin of 1 switches its tests off."""

    min_valid_rate: float
    min_both_orders: float
    margin: float
    reference_margin: float
    task_margin: float
    both_orders_margin: float
    calibration_margin: float
    position_bias_margin: float


@dataclass(frozen=True)
class GateFacts:
    """The challenger alone, shares between 0 and 1, thinking mode on the held-out pairs.

    `valid_rate` is the share of answers inside the grammar, `both_orders` the share of pairs right in
    both presentation orders.
    """

    accuracy: float
    valid_rate: float
    both_orders: float


@dataclass(frozen=True)
class Opponent:
    """A model that the challenger is held against: the champion, the reference, or one that is both.

    `comparison` is None where the two cannot be compared, and then `problem` is why and what to do.
    """

    name: str
    comparison: Comparison | None
    champion: bool = True
    reference: bool = False
    problem: str = ""

    def margin(self, limits: GateLimits) -> float:
        """How far the accuracy may lie below this model's; the smaller margin for one that is both."""
        margins = [limits.margin] * self.champion + [limits.reference_margin] * self.reference
        return min(margins)


@dataclass(frozen=True)
class GateTest:
    """One test of the gate, `against` another model or (empty) an absolute limit.

    `short_by` is by how much it failed, as a fraction: 0 if it passed, None where nothing was measured.
    """

    test: str
    against: str
    passed: bool
    sentence: str
    estimate: Estimate | None = None
    margin: float | None = None
    short_by: float | None = 0.0

    @property
    def plain(self) -> dict[str, object]:
        """As JSON."""
        return {**vars(self), "estimate": vars(self.estimate) if self.estimate else None}


@dataclass(frozen=True)
class GateDecision:
    """Whether the challenger passes, every test, and why, in sentences: what failed, or if nothing did, what held."""

    passed: bool
    checks: tuple[GateTest, ...]
    reasons: tuple[str, ...]

    @property
    def failed(self) -> tuple[GateTest, ...]:
        """The tests that failed."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def headline(self) -> str:
        """In a few words."""
        if self.passed:
            return f"The gate passed, all {len(self.checks)} tests."
        return f"The gate failed {len(self.failed)} of {len(self.checks)} tests."


def decide(facts: GateFacts, opponents: Sequence[Opponent], limits: GateLimits, *, note: str = "") -> GateDecision:
    """Whether the challenger may become champion; without opponents the absolute limits alone decide. NaN never passes.

    `note` is a sentence on what there is nothing to compare with, kept among the reasons of a pass.

    >>> limits = GateLimits(0.95, 0.6, 0.02, 0.01, 0.05, 0.04, 0.02, 0.03)
    >>> decide(GateFacts(accuracy=0.9, valid_rate=0.99, both_orders=0.5), [], limits).reasons
    ('Right in both orders on 50.0 % of the pairs, 10.0 points below the limit of 60.0 %.',)
    """
    checks = [
        _at_least("valid_rate", "Valid reasoning in {} of the answers", facts.valid_rate, limits.min_valid_rate),
        _at_least("both_orders", "Right in both orders on {} of the pairs", facts.both_orders, limits.min_both_orders),
    ]
    for opponent in opponents:
        checks += _comparisons(opponent, limits)
    if failed := tuple(check.sentence for check in checks if not check.passed):
        return GateDecision(passed=False, checks=tuple(checks), reasons=failed)
    reasons = [check.sentence for check in checks if not check.against]
    reasons += [_against(opponent.name, opponent.comparison) for opponent in opponents if opponent.comparison]
    alone = "" if opponents else " The absolute limits alone decide."
    reasons.append(f"Accuracy {_percent(facts.accuracy)}. {note}{alone}".strip())
    return GateDecision(passed=True, checks=tuple(checks), reasons=tuple(reasons))


def moves_reference(over_reference: Comparison | None) -> bool:
    """Whether a model that becomes champion becomes the reference too, the best so far.

    It does if it is shown to be more accurate, the lower end of the interval above 0; or if there is none (None).
    """
    return over_reference is None or over_reference.accuracy.low > 0


def _comparisons(opponent: Opponent, limits: GateLimits) -> Iterator[GateTest]:
    found = opponent.comparison
    if found is None:
        sentence = f"Not comparable with {opponent.name}: {opponent.problem}"
        yield GateTest("comparable", opponent.name, False, sentence, short_by=None)
        return
    yield _non_inferior("accuracy", "Accuracy", opponent.name, found.accuracy, opponent.margin(limits))
    for task, estimate in found.tasks.items():
        what = f"Accuracy in {task.replace('_', ' ')}"
        yield _non_inferior(f"accuracy/{task}", what, opponent.name, estimate, limits.task_margin)
    others: Mapping[str, tuple[str, Estimate, float]] = {
        "both_orders": ("Right in both orders", found.both_orders, limits.both_orders_margin),
        "calibration": ("Calibration (Brier score, higher is better)", found.calibration, limits.calibration_margin),
        "position_bias": ("Freedom from position bias", found.position_bias, limits.position_bias_margin),
    }
    for name, (what, estimate, margin) in others.items():
        yield _non_inferior(name, what, opponent.name, estimate, margin)


def _non_inferior(test: str, what: str, against: str, found: Estimate, margin: float) -> GateTest:
    passed = found.low > -margin or margin >= 1  # all that there is may be lost: the test is off
    sentence = f"{what} against {against}: {_difference(found)}, "
    if passed:
        sentence += (
            f"its lower end above the margin of {_points(-margin)}." if margin < 1 else "any difference is allowed."
        )
    else:
        sentence += f"its lower end {POINTS * (-margin - found.low):.1f} points below the margin of {_points(-margin)}."
    return GateTest(test, against, passed, sentence, found, margin, 0.0 if passed else -margin - found.low)


def _at_least(test: str, what: str, found: float, limit: float) -> GateTest:
    passed = found >= limit
    relation = "at or above" if passed else f"{POINTS * (limit - found):.1f} points below"
    sentence = f"{what.format(_percent(found))}, {relation} the limit of {_percent(limit)}."
    return GateTest(test, "", passed, sentence, None, limit, 0.0 if passed else limit - found)


def _against(name: str, found: Comparison) -> str:
    """What held against one model, in a sentence."""
    lowest = min(found.tasks, key=lambda task: found.tasks[task].low)
    return (
        f"Against {name} on {found.pairs} pairs: accuracy {_difference(found.accuracy)}; lowest "
        f"{lowest.replace('_', ' ')} {_difference(found.tasks[lowest])}; right in both orders "
        f"{_difference(found.both_orders)}; calibration and position bias within their margins."
    )


def _difference(found: Estimate) -> str:
    return f"{_points(found.mean)} points (95 % interval {_points(found.low)} to {_points(found.high)})"


def _percent(share: float) -> str:
    return f"{POINTS * share:.1f} %"


def _points(share: float) -> str:
    return f"{POINTS * share:+.1f}"
