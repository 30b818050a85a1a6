"""How often the gate lets models of known quality through, and how far a champion can be walked down.

    python -m tests.proofs.gate [--runs 400] [--processes 2]

The models are made up; the comparison, the rule, the margins and the moves of the reference are the gate's own
(`models.evaluation.comparison`, `models.evaluation.gate`, the defaults of `configs.schema.Promote`). A share of the
pairs is contested: a model is right in each with one half, and one that is worse by d less often, so that it is worse
by d in all. Models agree on the rest. Half of the contested pairs go the same way in both presentation orders. The
champion is right in 85 % of its answers. Two models of one accuracy differ in 4.5 % of their answers, which over 1600
pairs gives the difference the interval of the README's table (rejection sampling against cold start: 0.9 points either
way), or in 9 %. Pairs are spread evenly over the four tasks.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from configs.schema import Promote
from models.evaluation.comparison import TaskEvidence, accuracy, both_orders, compare, valid_rate
from models.evaluation.gate import GateDecision, GateFacts, GateLimits, Opponent, decide, moves_reference
from models.pairs.preference import Task

ACCURACY = 0.85
DIFFERING = 0.045  # share of answers in which two models of one accuracy differ
ALIKE = 0.5  # share of contested pairs whose two orders are drawn together
NIGHTS = 60
BEHIND = 0.05  # by how much an outdated reference is worse than the champion
STEP = 0.005  # by how much each night's challenger is worse than the champion
DEFAULTS = Promote()
LIMITS = GateLimits(**{name: getattr(DEFAULTS, name) for name in GateLimits.__dataclass_fields__})

Made = dict[str, TaskEvidence]


class World:
    """Held-out pairs, `pairs` in all, and models that judge them."""

    def __init__(self, pairs: int, seed: int, differing: float = DIFFERING) -> None:
        self.random = np.random.default_rng(seed)
        self.shape = (len(Task), pairs // len(Task))
        self.contested_share = 2 * differing  # two draws with one half differ in one half
        drawn = self.random.random(self.shape)
        self.contested = drawn < self.contested_share
        self.easy = ~self.contested & (drawn < ACCURACY + differing)
        self.label_is_first = self.random.random(self.shape) < 0.5
        self.names = tuple(map(str, range(self.shape[1])))

    def model(self, worse_by: float = 0.0) -> Made:
        """A model whose accuracy on all the pairs there could be is 85 % less `worse_by`, a fraction."""
        drawn = self.random.random((*self.shape, 2))
        alike = self.random.random(self.shape) < ALIKE
        drawn[alike, 1] = drawn[alike, 0]
        propensity = np.where(self.contested, 0.5 - worse_by / self.contested_share, self.easy)
        right = drawn < propensity[..., None]
        label_is_first = np.stack([self.label_is_first, ~self.label_is_first], axis=-1)
        lean = np.where(label_is_first == right, 0.5, -0.5)
        gap = self.random.exponential(np.where(right, 2.0, 1.0))  # of mean scores: wrong answers are the closer ones
        brier = (1 / (1 + np.exp(np.where(right, gap, -gap)))) ** 2
        hits = right.astype(float)
        return {
            str(task): TaskEvidence(self.names, hits[at], np.ones_like(hits[at]), brier[at], lean[at])
            for at, task in enumerate(Task)
        }


def decision(challenger: Made, champion: Made, reference: Made, limits: GateLimits) -> tuple[GateDecision, bool]:
    """The gate's decision, and whether the challenger becomes the reference if it is promoted."""
    over_reference = compare(challenger, reference)
    rivals = [Opponent("the reference", over_reference, champion is reference, True)]
    if champion is not reference:
        rivals.append(Opponent("the champion", compare(challenger, champion)))
    facts = GateFacts(accuracy(challenger), valid_rate(challenger), both_orders(challenger))
    return decide(facts, rivals, limits), moves_reference(over_reference)


def passes(
    seed: int, *, pairs: int, worse_by: float, differing: float = DIFFERING, behind: float | None = None
) -> bool:
    """Whether a challenger passes that is worse by that much than the champion.

    The champion is the reference too, or the reference is behind it by so much accuracy, and only the champion's own,
    wider margin binds.
    """
    world = World(pairs, seed, differing)
    champion = world.model()
    reference = champion if behind is None else world.model(behind)
    return decision(world.model(worse_by), champion, reference, LIMITS)[0].passed


def nights(
    seed: int, *, pairs: int, step: float, differing: float = DIFFERING, limits: GateLimits = LIMITS
) -> tuple[float, int]:
    """So many challengers in a row, each worse by `step` than the champion of its night: accuracy lost, promotions."""
    world = World(pairs, seed, differing)
    champion = reference = world.model()
    lost, promoted = 0.0, 0
    for _ in range(NIGHTS):
        challenger = world.model(lost + step)
        found, best = decision(challenger, champion, reference, limits)
        if found.passed:
            champion, lost, promoted = challenger, lost + step, promoted + 1
            reference = challenger if best else reference
    return lost, promoted


def pairs_needed(margin: float, *, power: float = 0.8, differing: float = DIFFERING) -> int:
    """How many held-out pairs let an equal model pass the test of overall accuracy with probability `power`.

    The interval's half width and the spread of the difference have one standard error, whose square is the variance of
    a pair's difference over the pairs: contested pairs have 1/2 where both orders are alike, else 1/4.
    """
    variance = 2 * differing * (ALIKE / 2 + (1 - ALIKE) / 4)
    quantile = {0.5: 0.0, 0.8: 0.8416, 0.95: 1.6449}[power]
    return int(np.ceil(variance * ((1.959964 + quantile) / margin) ** 2))


def main() -> None:
    """Prints the tables of docs/evaluation.md."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=400)
    arguments.add_argument("--processes", type=int, default=2)
    given = arguments.parse_args()
    out, seeds = sys.stdout.write, range(given.runs)
    with ProcessPoolExecutor(given.processes) as pool:
        mapped = partial(pool.map, chunksize=10)
        out("challengers that pass, %, by the points of accuracy between them and the champion\n")
        steps = (0.02, 0.01, 0.005, 0.0, -0.005, -0.01, -0.02)
        out("| pairs | differing, % | -2, reference behind | " + " | ".join(f"{-100 * d:+g}" for d in steps) + " |\n")
        for differing in (DIFFERING, 2 * DIFFERING):
            for pairs in (500, 1600, 3200, 6400):
                ways = [(0.02, BEHIND), *((step, None) for step in steps)]
                asked = [partial(passes, pairs=pairs, worse_by=d, differing=differing, behind=b) for d, b in ways]
                found = [[*mapped(one, seeds)] for one in asked]
                cells = " | ".join(f"{100 * np.mean(one):.1f}" for one in found)
                out(f"| {pairs} | {100 * differing:.1f} | {cells} |\n")
        out(f"\n{NIGHTS} nights in a row\n")
        out("| pairs | differing, % | lost on average, of 0.5 worse | at most 1 lost, % | most lost | "
            "equal ones promoted, % of nights |\n")  # fmt: skip
        for differing in (DIFFERING, 2 * DIFFERING):
            for pairs in (500, 1600, 3200):
                out(walked(mapped, pairs, differing, seeds))
    out("\nheld-out pairs for an equal model to pass the test of overall accuracy\n")
    out("| margin, points | 80 % (4.5 % differ) | 95 % | 80 % (9 % differ) | 95 % |\n")
    for margin in (0.005, 0.01, 0.015, 0.02, 0.03, 0.05):
        needed = [pairs_needed(margin, power=p, differing=d) for d in (DIFFERING, 2 * DIFFERING) for p in (0.8, 0.95)]
        out(f"| {100 * margin:g} | {' | '.join(map(str, needed))} |\n")


def walked(mapped: Callable[..., object], pairs: int, differing: float, seeds: Sequence[int]) -> str:
    """A line of the second table."""
    worse = np.array([*mapped(partial(nights, pairs=pairs, step=STEP, differing=differing), seeds)])  # type: ignore[misc]
    equal = np.array([*mapped(partial(nights, pairs=pairs, step=0.0, differing=differing), seeds)])  # type: ignore[misc]
    lost = 100 * worse[:, 0]
    within = 100 * (lost < 1.001).mean()
    cells = f"{lost.mean():.2f} | {within:.1f} | {lost.max():.1f} | {100 * equal[:, 1].mean() / NIGHTS:.0f}"
    return f"| {pairs} | {100 * differing:.1f} | {cells} |\n"


if __name__ == "__main__":
    main()
