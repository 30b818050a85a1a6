"""The step that an epoch's end leaves short, shared by processes: every example counts alike."""

from collections import Counter
from itertools import product

import pytest
from torch.utils.data import BatchSampler

from models.training.parallel.shares import SharedSteps, shared_examples

CASES = list(product((1, 2, 3, 4, 8), (1, 2, 4), (1, 2, 4)))


@pytest.mark.parametrize(("processes", "micro_batch", "passes"), CASES)
def test_every_process_has_as_many_batches_none_empty_and_none_too_large(
    processes: int, micro_batch: int, passes: int
) -> None:
    for left in range(1, processes * micro_batch * passes):
        batches = shared_examples(range(left), processes, micro_batch, passes)
        assert len(batches) % processes == 0
        assert len(batches) <= processes * passes
        assert all(1 <= len(batch) <= micro_batch for batch in batches)
        counts = Counter(example for batch in batches for example in batch)
        assert set(counts) == set(range(left))
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(
    ("left", "processes", "micro_batch", "passes"), [(3, 2, 2, 1), (5, 2, 8, 1), (1, 2, 8, 1), (6, 4, 4, 2)]
)
def test_the_mean_over_the_batches_is_that_of_one_process_where_that_can_be(
    left: int, processes: int, micro_batch: int, passes: int
) -> None:
    made = Counter(map(tuple, shared_examples(range(left), processes, micro_batch, passes)))
    assert {*made} == {tuple(range(at, min(at + micro_batch, left))) for at in range(0, left, micro_batch)}
    assert len({*made.values()}) == 1


def test_where_that_takes_too_many_passes_each_example_counts_alike() -> None:
    made = Counter(one for batch in shared_examples(range(5), 4, 2, 1) for one in batch)
    assert set(made.values()) == {1}


def test_whole_steps_are_as_they_are_and_the_length_is_the_number_of_batches() -> None:
    batches = BatchSampler(range(21), batch_size=4, drop_last=False)
    shared = SharedSteps(batches, processes=2, passes=1)
    made = list(shared)
    assert made[:4] == list(batches)[:4]
    assert sorted(example for batch in made[4:] for example in batch) == [16, 17, 18, 19, 20]
    assert len(shared) == len(made) == 6
