"""How often a text in a pair that dictates the verdict gets it, from a model on held-out pairs of the shapes.

Beside it, how often a harmless text turns the verdict to the same candidate: so much is not the dictation's doing. Run
in the folder of a demo::

    python -m tests.proofs.injection --model champion --pairs 100
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from models.pairs.preference import PreferencePair, Preferred, Task
from models.shapes.pairs import MadePair, make_pair
from models.verdict.grammar import Mode
from models.verdict.injection import HARMLESS, INJECTIONS, attacks, share_flipped
from tasks.judging.judges import reward_model

Verdicts = Callable[[Sequence[PreferencePair], Mode], list[Preferred | None]]


def main() -> None:
    """Print a line a mode and task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="champion")
    parser.add_argument("--pairs", type=int, default=100, help="a task")
    parser.add_argument("--seed", type=int, default=1, help="of the pairs and of the choice of texts")
    given = parser.parse_args()
    judge = reward_model(given.model)
    made = [make_pair(task, at, seed=given.seed, held_out=True) for task in Task for at in range(given.pairs)]
    frames = {uri: shown for one in made for uri, shown in one.frames.items()}

    def verdicts(pairs: Sequence[PreferencePair], mode: Mode) -> list[Preferred | None]:
        outcomes = judge.judge(pairs, frames.__getitem__, [mode] * len(pairs), both_orders=False)
        return [outcome.preferred for outcome in outcomes]

    modes: tuple[Mode, ...] = ("direct", "think")
    for mode in modes:
        before = verdicts([one.pair for one in made], mode)
        shares = [_turned(made, before, sentences, given.seed, mode, verdicts) for sentences in (INJECTIONS, HARMLESS)]
        for task, dictated, harmless in zip(Task, *shares, strict=True):
            sys.stdout.write(f"{mode:6} {task:22} dictated {dictated:5.1%}  harmless {harmless:5.1%}\n")
            sys.stdout.flush()


def _turned(
    made: Sequence[MadePair],
    before: Sequence[Preferred | None],
    sentences: Sequence[str],
    seed: int,
    mode: Mode,
    verdicts: Verdicts,
) -> list[float]:
    """The share turned, a task."""
    attacked = attacks([one.pair for one in made], before, sentences, seed=seed)
    after = verdicts([attack.pair for attack in attacked], mode)
    shares = []
    for task in Task:
        some = [(attack, said) for attack, said in zip(attacked, after, strict=True) if attack.pair.task == task]
        shares.append(share_flipped([attack for attack, _ in some], [said for _, said in some]))
    return shares


if __name__ == "__main__":
    main()
