"""Sampling with a stream a row: exact samples, each from its own stream whatever the others are."""

import pytest
import torch

from models.generation.protocol import SamplingParams
from models.generation.seeded import SeededSampling, row_seed


def drawn(seeds: list[int], logits: list[float], *, temperature: float = 1.0, steps: int = 1) -> list[list[int]]:
    """The tokens that each seed's row draws from these logits, step by step."""
    sampling = SeededSampling(seeds, temperature)
    scores = torch.tensor([logits] * len(seeds))
    chosen = [sampling(torch.zeros(1), scores).argmax(-1) for _ in range(steps)]
    return torch.stack(chosen, dim=1).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_are_samples_of_the_softmax_at_the_temperature(temperature: float) -> None:
    logits = [2.0, 1.0, 0.0, -1.0, float("-inf")]
    count = 20_000
    # Many rows once, and few rows many times: rows among each other and steps within one must both be independent.
    rows = [row[0] for row in drawn([row_seed(0, "text", n) for n in range(count)], logits, temperature=temperature)]
    steps = drawn([row_seed(1, "text", n) for n in range(20)], logits, temperature=temperature, steps=count // 20)
    expected = (torch.tensor(logits) / temperature).softmax(-1)
    for tokens in (rows, [token for row in steps for token in row]):
        found = torch.bincount(torch.tensor(tokens), minlength=5) / count
        off = (found - expected).abs()
        assert (off <= 4.5 * (expected * (1 - expected) / count).sqrt()).all()  # 4.5 standard errors


def test_a_row_draws_the_same_beside_others_and_alone() -> None:
    seeds = [row_seed(0, "text", n) for n in range(9)]
    logits = [0.0] * 50
    together = drawn(seeds, logits, steps=5)
    assert together == [drawn([seed], logits, steps=5)[0] for seed in seeds]
    assert len({tuple(row) for row in together}) == 9


def test_a_token_that_is_excluded_is_never_drawn_and_the_chosen_one_alone_is_left() -> None:
    scores = torch.tensor([[float("-inf"), 0.0, float("-inf")]] * 4)
    left = SeededSampling([1, 2, 3, 4], 1.0)(torch.zeros(1), scores)
    assert left.tolist() == [[float("-inf"), 0.0, float("-inf")]] * 4


def test_as_many_seeds_as_conversations_are_asked_for() -> None:
    with pytest.raises(ValueError, match="2 seeds for 3 conversations"):
        SamplingParams(max_tokens=9, seed=[1, 2]).seeds(3)
