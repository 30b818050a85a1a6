"""A GRPO step against stock TRL: a group's prompt computed once, in sampling and in the forward pass with gradients.

    python -m tests.proofs.speed_grpo

One trainer takes all steps, by turns as TRL does (its sampling, its forward pass) and as we do, on the same prompts.
The learning rate is so small that the model stays the same. Processor time of one thread, since a busy machine's clock
says nothing. The forward and backward pass is timed again by itself, both ways on the same completions, and once more
with the bytes of all tensors counted.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.proofs.speed_rows import Row, main_of, ratios_of, row

BASE = Path(__file__).resolve().parents[2] / "models" / "shapes" / "base"
GROUP, PROMPTS, TOKENS = 8, 8, 216
ROUNDS, FULL = 3, 7


class Measured:
    """Processor seconds of (ours, TRL's) by round, of whole steps and of their passes, and peaks in MiB."""

    def __init__(self) -> None:
        self.steps: list[dict[bool, float]] = []
        self.passes: list[dict[bool, float]] = []
        self.peaks: dict[bool, float] = {}

    def pairs(self, what: str) -> list[tuple[float, float]]:
        """(ours, TRL's) of the rounds that are complete; the first step of each way warms up."""
        return [(one[True], one[False]) for one in getattr(self, what)[1:]]


def alternating_trainer(measured: Measured) -> Any:
    """The trainer's class, whose steps 0, 3, 4, 7, 8, ... are ours."""
    from trl import GRPOTrainer

    from models.training.rollouts import CompletionsTrainer
    from tests.models.training.peak import Peak

    class Alternating(CompletionsTrainer):
        def _generate_single_turn(self, *given: Any, **more: Any) -> Any:
            how = CompletionsTrainer if self._shares else GRPOTrainer
            return how._generate_single_turn(self, *given, **more)

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            at, second = divmod(self._step, 2)
            self._shares = ours = bool(at % 2) == bool(second)
            begun = time.process_time()
            loss = super().training_step(model, inputs, num_items_in_batch)
            spent = time.process_time() - begun
            if not second:
                measured.steps.append({})
            measured.steps[-1][ours] = spent
            if second:
                kept = {weight: weight.grad for weight in model.parameters()}
                measured.passes.append({way: self._pass(model, way) for way in (ours, not ours)})
                if not measured.peaks:
                    for way in (True, False):
                        with Peak() as peak:
                            self._pass(model, way)
                        measured.peaks[way] = peak.bytes / 2**20
                for weight, gradient in kept.items():
                    weight.grad = gradient
            return loss

        def _pass(self, model: Any, shares: bool) -> float:
            """Seconds of a forward and backward pass over the completions of the last step."""
            made: Any = self._buffered_inputs
            self._shares = shares
            model.zero_grad()
            begun = time.process_time()
            self._compute_loss(model, made[0]).backward()
            return time.process_time() - begun

    return Alternating


def measure(rounds: int, folder: Path) -> Measured:
    """Rounds of two steps on the same prompts, one in each way."""
    import torch

    from configs.schema import Grpo, Model, Runtime
    from models.pairs.dataset import PreferenceDataset, write_dataset
    from models.pairs.preference import Task
    from models.shapes.pairs import make_pair
    from models.training import grpo
    from models.training.compute import Compute

    torch.set_num_threads(1)
    made = [make_pair(task, number, seed=0, held_out=False) for number in range(rounds) for task in Task]
    pairs = [one.pair for one in made]
    (folder / "data").mkdir()
    write_dataset(folder / "data", {"train": pairs}, {uri: blob for one in made for uri, blob in one.blobs.items()})
    media = PreferenceDataset(folder / "data", max_pixels=147_456, max_frames=8)
    size = PROMPTS // 2  # both orders of a pair are prompts
    twice = [pair for at in range(0, len(pairs), size) for pair in 2 * pairs[at : at + size]]
    section = Grpo(
        preset="modern", group=GROUP, prompts_per_step=PROMPTS, micro_batch=GROUP * PROMPTS, max_tokens=TOKENS,
        learning_rate=1e-12, checkpoint_every=999, validate_every=999, no_spread_steps=0,
    )  # fmt: skip
    measured = Measured()
    known, judged = grpo.CompletionsTrainer, grpo.Judge.judge
    grpo.CompletionsTrainer = alternating_trainer(measured)  # type: ignore[misc]
    grpo.Judge.judge = lambda *_, **__: []  # type: ignore[method-assign]  # validations are not what is measured
    try:
        how = Compute(0, Model(), Runtime(device="cpu", threads=1, generation_batch=GROUP * PROMPTS))
        grpo.train_grpo(BASE, twice, pairs[:1], media, grpo=section, compute=how, scratch=folder / "trainer")
    finally:
        grpo.CompletionsTrainer, grpo.Judge.judge = known, judged  # type: ignore[misc, method-assign]
    return measured


def rows(full: bool = False) -> Iterator[Row]:
    """The step, and its forward and backward pass."""
    rounds = FULL if full else ROUNDS
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(rounds + 1, Path(folder))
    for name, what, target in (
        ("a GRPO step against stock TRL", "steps", 1.5),
        ("its forward and backward pass", "passes", 1.5),
    ):
        pairs = measured.pairs(what)
        ours, other = (sum(found) / len(found) for found in zip(*pairs, strict=True))
        note = f"{PROMPTS} prompts in groups of {GROUP}, {rounds} rounds, processor time {ours:.2f} s and {other:.2f} s"
        if what == "passes":
            peaks = measured.peaks
            note += f"; tensors {peaks[True]:.0f} MiB at most and {peaks[False]:.0f} MiB"
        yield row(name, ratios_of(pairs), target, note)


if __name__ == "__main__":
    sys.exit(main_of(rows, __doc__))
