"""Does ranking by few comparisons find the best of eight images as often as all pairs do?

    python -m tests.proofs.ranking [--model champion] [--groups 100] [--direct] [--seed 0]

Makes groups of eight held-out images of the embedded world for one caption: one as asked, and seven whose flaws grow:
a shape too many, another colour or form, two shapes changed about, another once more, and these cut off, blurred, or
noisy. The judge ranks each group adaptively, and by all pairs, which count by the difference of their totals as they
do when it ranks, or by their winners alone. Prints how often each names the image as asked, how many comparisons each
used (pairs, judged in both orders), and the mean correlation of strength with fewness of flaws. Exit status 1 if the
adaptive ranking finds it less often than all pairs by their winners, or uses more than half of them.
"""

import argparse
import itertools
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.judging.ranking import Pair, Ranking, round_robin
from models.judging.reward_model import Outcome, RewardModel
from models.shapes.draw import Look, draw_scene, encode
from models.shapes.world import Flaw, Level, Scene, caption_of, random_scene, violate
from models.verdict.grammar import Mode
from tasks.judging.judges import reward_model

CONTENT = (Flaw.COUNT, Flaw.COLOUR, Flaw.RELATION, Flaw.FORM)
RENDERING = (Flaw.CUT, Flaw.BLUR, Flaw.NOISE)
HALF = 14  # of 28 pairs
TASK = "image_generation"
NAMES = ("adaptive", "all pairs", "all pairs by winners")


@dataclass(frozen=True)
class Group:
    """A caption, images for it, and the place of each in the row of growing flaws, where 0 has none."""

    prompt: str
    images: list[bytes]
    flaws: list[int]


def main() -> int:
    """Prints the figures; the exit status says whether they hold."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="champion", help="as for tasks.judging.judges.reward_model")
    arguments.add_argument("--groups", type=int, default=100)
    arguments.add_argument("--direct", action="store_true", help="ask for answers without reasoning")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    judge = reward_model(given.model)
    mode: Mode = "direct" if given.direct else "think"
    found: dict[str, list[tuple[bool, int, float]]] = {name: [] for name in NAMES}
    started = time.monotonic()
    for number in range(given.groups):
        group = make_group(number, given.seed)
        for name, ranking in zip(NAMES, rankings(judge, group, mode, number), strict=True):
            agreement = float(np.corrcoef([one.value for one in ranking.strengths], group.flaws)[0, 1])
            found[name].append((group.flaws[ranking.best] == 0, len(ranking.comparisons), -agreement))
        tell(f"{number + 1} groups, {time.monotonic() - started:.0f} s")
    for name, rows in found.items():
        right, comparisons, agreement = np.array(rows, float).T
        tell(
            f"{name:20}  best found {right.sum():3.0f} of {len(rows)}  comparisons {comparisons.mean():5.1f}, "
            f"at most {comparisons.max():.0f}  correlation with fewness of flaws {agreement.mean():.2f}"
        )
    (few, used, _), _, (winners, _, _) = (np.array(rows, float).T for rows in found.values())
    gain = few - winners
    tell(
        f"adaptive finds it {100 * gain.mean():+.1f} points more often than all pairs by winners, "
        f"standard error {100 * gain.std() / len(gain) ** 0.5:.1f}"
    )
    return int(few.sum() < winners.sum() or used.max() > HALF)


def make_group(number: int, seed: int) -> Group:
    """The group of this number: its images in an order drawn by lot."""
    rng = random.Random(f"ranking/{seed}/{number}")
    scene = random_scene(rng, Level.NORMAL, video=False, held_out=True)
    drawn: list[tuple[Scene, Flaw | None]] = [(scene, None)]
    for flaw in CONTENT:
        worse = violate(drawn[-1][0], flaw, Level.NORMAL, rng)
        assert worse is not None, "two or three shapes have room for a further one, and can change about"
        drawn.append((worse, None))
    drawn += [(drawn[-1][0], flaw) for flaw in RENDERING]
    flaws = rng.sample(range(len(drawn)), len(drawn))
    images = [encode(draw_scene(drawn[at][0], Look.random(rng), drawn[at][1], Level.NORMAL, rng)) for at in flaws]
    return Group(caption_of(scene), images, flaws)


def rankings(judge: RewardModel, group: Group, mode: Mode, seed: int) -> tuple[Ranking, Ranking, Ranking]:
    """The adaptive ranking, and those by all pairs."""
    adaptive = judge.rank(group.prompt, group.images, task=TASK, mode=mode, seed=seed)
    pairs = list(itertools.combinations(range(len(group.images)), 2))
    asked = {"task": TASK, "prompt": group.prompt}
    rows = [{**asked, "candidate_1": group.images[one], "candidate_2": group.images[two]} for one, two in pairs]
    outcomes = dict(zip(pairs, judge.compare(rows, mode=mode), strict=True))

    def by(share: Callable[[Outcome], float | None]) -> Ranking:
        def compare(wanted: list[Pair]) -> list[float | None]:
            shares = [share(outcomes[min(pair), max(pair)]) for pair in wanted]
            return [
                value if value is None or first < second else 1 - value
                for (first, second), value in zip(wanted, shares, strict=True)
            ]

        return round_robin(len(group.images), compare, seed=seed)

    return adaptive, by(lambda one: one.share), by(lambda one: one.first_wins)


def tell(text: str) -> None:
    """A line of the script's output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
