"""Sampling whose every row has its own randomness, so that a text does not depend on what it is generated with.

transformers draws the next tokens of all sequences of a batch from one stream, so that each text depends on how many
others there are and on its place. Here each sequence draws from a stream of its own, by the Gumbel-max trick:
argmax(logits / T + g) with independent g ~ Gumbel(0, 1) is an exact sample of softmax(logits / T) (Gumbel 1954;
Maddison, Tarlow and Minka, "A* Sampling", NeurIPS 2014, arXiv 1411.0030, section 2). A Gumbel variate is -log(e) with
e ~ Exp(1).

What remains is rounding: a batch of another width may compute logits that differ in their last digits, which changes a
token where two candidates are that close. In float32 that is rare; in bfloat16, with 8 bits of mantissa, one of 96
texts of 48 tokens parted between batches of 1 and of 64 on a CPU: a sample of the same distribution all the same.
"""

import hashlib
from collections.abc import Sequence

import torch
from transformers import LogitsProcessor


def row_seed(seed: int, text: str, sample: int) -> int:
    """The seed of one sequence's stream: from the conversation's seed and text, and the number of the sample.

    The text is in it so that conversations that were given one seed together do not draw alike.

    >>> row_seed(0, "a", 0) == row_seed(0, "a", 0), row_seed(0, "a", 0) == row_seed(0, "a", 1)
    (True, False)
    """
    digest = hashlib.sha256(f"{seed} {sample} {text}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes seeds of 63 bits


class SeededSampling(LogitsProcessor):
    """Chooses each row's next token from the row's own stream: all other tokens get a logit of minus infinity.

    To be used with `do_sample=True`, temperature 1 and no other warper: the draw that transformers then makes has but
    one outcome. `seeds_B` are the rows' seeds; streams are on the logits' device, so that they differ between a
    CPU and a GPU, as the logits do.
    """

    def __init__(self, seeds_B: Sequence[int], temperature: float) -> None:
        self._seeds = seeds_B
        self._temperature = temperature
        self._streams: list[torch.Generator] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores` (batch, vocabulary) float32 with all but the chosen tokens excluded."""
        chosen = self.draw(scores, range(len(scores)))[:, None]
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen, 0.0)

    def draw(self, scores: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """The next token of some `rows`, of each from its own stream; `scores` (rows, vocabulary) are float32."""
        if not self._streams:
            self._streams = [torch.Generator(scores.device).manual_seed(seed) for seed in self._seeds]
        noise = torch.empty_like(scores)
        for row, into in zip(rows, noise, strict=True):
            into.exponential_(generator=self._streams[row])
        # exponential_ may round to 0, whose logarithm would choose a token of no probability.
        noise.clamp_(min=torch.finfo(noise.dtype).tiny).log_()
        return (scores / self._temperature).sub_(noise).argmax(dim=-1)
