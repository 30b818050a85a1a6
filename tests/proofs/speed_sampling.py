"""How much faster sampling and judging are than one completion at a time, and than plain batched `generate`.

    python -m tests.proofs.speed_sampling [--full]

CPU time of one thread, ours and the other by turns. One completion at a time is what reference scripts do
(github.com/CodeGoat24/UnifiedReward, inference): a prompt is processed and generated alone, each sample anew. Plain
batches are one `generate` on as many sequences as ours has together, in the order given, each sample's prompt
prefilled, until the longest has ended. All write the same tokens by the same streams; notes count the texts that
differ, where two tokens' logits are equal but for rounding.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.proofs.speed_rows import Row, main_of, row

BASE = Path(__file__).resolve().parents[2] / "models" / "shapes" / "base"
MAX_TOKENS = 216
TOGETHER = 256
ALONE = 4  # completions that are written one at a time


class Bench:
    """The base model, prompts of all four tasks in both orders, and the ways to complete them."""

    def __init__(self, prompts: int) -> None:
        import torch

        from models.backbone import load_model, load_processor
        from models.generation.transformers_generator import LocalGenerator
        from models.judging.judge import Judge
        from models.pairs.preference import Task
        from models.shapes.pairs import make_pair

        torch.set_num_threads(1)
        made = [make_pair(task, at, seed=5, held_out=True) for at in range(max(1, prompts // 8)) for task in Task]
        frames = {uri: shown for one in made for uri, shown in one.frames.items()}
        self.processor, self.model = load_processor(BASE), load_model(BASE).requires_grad_(False)
        self.generator = LocalGenerator(self.model, self.processor, batch=TOGETHER)
        judge = Judge(self.generator, lambda uri: frames[uri])
        self.asked = [judge.conversation(shown, "think") for one in made for shown in (one.pair, one.pair.swapped())]

    def ours(self, *, n: int, stop: bool = False) -> list[str]:
        """Texts by `LocalGenerator`, prompt by prompt and then by sample."""
        from models.generation.protocol import SamplingParams

        params = SamplingParams(max_tokens=MAX_TOKENS, n=n, temperature=float(n > 1), stop_malformed=stop)
        return [one.text for samples in self.generator.generate(self.asked, params) for one in samples]

    def stock(self, *, n: int, together: int, first: int | None = None) -> list[str]:
        """Texts by transformers' loop, for so many sequences at a time: of the `first` prompts, or all."""
        rows = max(1, together // n)
        asked = self.asked[:first]
        return [text for at in range(0, len(asked), rows) for text in self._batch(asked[at : at + rows], n)]

    def alone(self, *, n: int) -> list[str]:
        """Some texts, one completion at a time."""
        made = [self._batch([self.asked[at // n]], n, only=at % n) for at in range(ALONE)]
        return [text for one in made for text in one]

    def _batch(self, asked: list[Any], n: int, only: int | None = None) -> list[str]:
        from models.generation.decoding.loop import Decoding
        from models.generation.seeded import SeededSampling, row_seed
        from models.verdict.chat_template import prompt_text

        texts = [prompt_text(self.processor, one, "think") for one in asked]
        images = [part["image"] for one in asked for message in one for part in message["content"] if "image" in part]
        samples = range(n) if only is None else [only]
        seeds = [row_seed(0, text, sample) for text in texts for sample in samples]
        inputs = self.processor(
            text=texts,
            images=images,
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        )
        decoding = Decoding(
            samples=len(samples),
            max_tokens=MAX_TOKENS,
            stops=self.generator.ends,
            pad=self.generator.pad,
            never=self.generator.never,
            streams=SeededSampling(seeds, 1.0) if n > 1 else None,
        )
        tokens = decoding.stock(self.model, dict(inputs))
        return [text.strip() for text in self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]


def rows(full: bool = False) -> Iterator[Row]:
    """The rows, each as soon as it is measured."""
    rounds = 3 if full else 1
    judging, sampling = Bench(128 if full else 32), Bench(64 if full else 16)
    for bench, n, what in ((judging, 1, "greedy judging"), (sampling, 4, "sampling, 4 a prompt")):
        found = [_round(bench, n) for _ in range(rounds)]
        count, other = len(bench.asked) * n, found[0][1]
        parted = sum(a != b for a, b in zip(found[0][0][1], other[1], strict=True))
        note = f"{count} texts, {rounds} rounds; ours {found[0][0][0]:.1f} s of CPU, {parted} texts differ"
        plain = [one[1][0] / one[0][0] for one in found]
        alone = [one[2][0] / ALONE / (one[0][0] / count) for one in found]
        yield row(f"{what}, against plain batches", plain, 3, f"{note}; plain {other[0]:.1f} s")
        yield row(f"{what}, against one at a time", alone, 20, f"{note}; alone {found[0][2][0] / ALONE:.2f} s a text")
    found_base = [(_timed(lambda: judging.ours(n=1, stop=True)), _timed(lambda: judging.stock(n=1, together=TOGETHER)))
                  for _ in range(rounds)]  # fmt: skip
    ratios = [other[0] / ours[0] for ours, other in found_base]
    note = f"{len(judging.asked)} texts; ours {found_base[0][0][0]:.2f} s, plain {found_base[0][1][0]:.1f} s of CPU"
    yield row("a base that cannot think, against plain batches", ratios, 3, note)


Measured = tuple[float, list[str]]


def _round(bench: Bench, n: int) -> tuple[Measured, Measured, Measured]:
    """Ours, plain batches, and some one at a time."""
    ours = _timed(lambda: bench.ours(n=n))
    return ours, _timed(lambda: bench.stock(n=n, together=TOGETHER)), _timed(lambda: bench.alone(n=n))


def _timed(do: Callable[[], list[str]]) -> Measured:
    """CPU seconds of this process, and what was written."""
    started = time.process_time()
    made = do()
    return time.process_time() - started, made


if __name__ == "__main__":
    sys.exit(main_of(rows, __doc__))
