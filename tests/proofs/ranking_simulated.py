"""How often ranking by few comparisons finds the true best, next to all pairs, for judges that err in different ways.

    python -m tests.proofs.ranking_simulated [--groups 2000] [--candidates 8]

Strengths are drawn from a normal distribution. Three kinds of judge: Bradley-Terry, whose answers to the two
presentation orders are drawn apart; one with a taste of its own for each pair and a bias for a position; and one that
turns a pair round now and then, however wide its gap. Prints a line a judge: the share of answers that are wrong, how
often the best was found by `rank` and by `round_robin` with the standard error of the difference, the comparisons that
`rank` took, and how often 80 and 95 % confidence were reached and right.
"""

import argparse
import sys
from collections.abc import Callable
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.judging.ranking import Pair, Ranking, rank, round_robin

Answers = Callable[[np.random.Generator, float, float], float]
FIRST_SEED = 90_000


def bradley_terry(random: np.random.Generator, gap: float, noise: float) -> float:
    """Of two answers, one an order, the share for the first."""
    return float((random.random(2) < 1 / (1 + np.exp(-gap / noise))).mean())


def own_taste(random: np.random.Generator, gap: float, noise: float) -> float:
    """A taste for this pair alone, and a bias that decides what is close."""
    felt = gap + random.normal() * noise * 1.2
    return float(felt + noise / 2 > 0) / 2 + float(felt - noise / 2 > 0) / 2


def slips(random: np.random.Generator, gap: float, noise: float) -> float:
    """Right, but for one pair in so many."""
    right = float(gap > 0)
    return 1 - right if random.random() < noise else right


JUDGES: tuple[tuple[str, Answers, float], ...] = (
    *(("Bradley-Terry", bradley_terry, noise) for noise in (0.1, 0.2, 0.35, 0.6)),
    *(("own taste", own_taste, noise) for noise in (0.25, 0.5)),
    *(("slips", slips, noise) for noise in (0.02, 0.05, 0.1)),
)


def main() -> None:
    """Prints the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--groups", type=int, default=2000)
    arguments.add_argument("--candidates", type=int, default=8)
    given = arguments.parse_args()
    for name, answers, noise in JUDGES:
        rows = np.array([group(answers, noise, given.candidates, number) for number in range(given.groups)])
        wrong, few, every, used, *confident = rows.mean(axis=0)
        error = (rows[:, 1] - rows[:, 2]).std() / len(rows) ** 0.5
        sure = ", ".join(
            f"{level} reached by {reached:.1%}, right in {right / max(reached, 1e-9):.0%}"
            for level, reached, right in zip(("80 %", "95 %"), confident[::2], confident[1::2], strict=True)
        )
        sys.stdout.write(
            f"{name:<14} {noise:<5} wrong {wrong:5.1%}  best found {few:.1%} by {used:.1f}, {every:.1%} by all, "
            f"difference {100 * (few - every):+.1f} ± {100 * error:.1f} points; {sure}\n"
        )
        sys.stdout.flush()


def group(answers: Answers, noise: float, count: int, number: int) -> tuple[float, ...]:
    """One group of candidates: the columns of which `main` prints the means."""
    random = np.random.default_rng(FIRST_SEED + number)
    strengths: NDArray[np.float64] = random.normal(size=count)
    best = int(strengths.argmax())
    shares = {(i, j): answers(random, strengths[i] - strengths[j], noise) for i, j in combinations(range(count), 2)}

    def compare(pairs: list[Pair]) -> list[float]:
        return [shares[i, j] if i < j else 1 - shares[j, i] for i, j in pairs]

    few: Ranking = rank(count, compare, seed=number)
    every = round_robin(count, compare, seed=number)
    wrong = np.mean([1 - share if strengths[i] > strengths[j] else share for (i, j), share in shares.items()])
    reached = [few.confidence >= level for level in (0.8, 0.95)]
    right = [there and few.best == best for there in reached]
    sure = (reached[0], right[0], reached[1], right[1])
    return float(wrong), few.best == best, every.best == best, len(few.comparisons), *map(float, sure)


if __name__ == "__main__":
    main()
