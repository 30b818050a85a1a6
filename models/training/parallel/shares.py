"""How processes share an optimizer step that an epoch's end leaves short.

accelerate fills such a step up with examples from the epoch's start, so that its batch depends on the number of
processes. Here the examples that are left are shared alone, and the step is that of one process where that can be.
"""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from math import gcd
from typing import Any


def shared_examples(left: Sequence[int], processes: int, micro_batch: int, most: int) -> list[list[int]]:
    """The batches of a short step: `processes` of them for each of `most` forward passes at most, none empty.

    They are those of one process, all repeated until there are enough to go round: a mean over batches stays as it is.
    Where that would take too many passes the examples are dealt out, each once or, where they are too few, equally
    often; and where no such number fits either, some once more than others.

    >>> shared_examples([1, 2, 3], processes=2, micro_batch=2, most=1)
    [[1, 2], [3]]
    >>> shared_examples([1, 2, 3], processes=2, micro_batch=8, most=1)
    [[1, 2, 3], [1, 2, 3]]
    >>> shared_examples([1, 2, 3, 4, 5], processes=4, micro_batch=2, most=1)
    [[1, 5], [2], [3], [4]]
    """
    alone = [[*left[at : at + micro_batch]] for at in range(0, len(left), micro_batch)]
    times = processes // gcd(len(alone), processes)
    if len(alone) * times <= most * processes:
        return alone * times
    for passes in range(1, most + 1):
        places = passes * processes
        for times in range(1, places + 1):
            if places <= times * len(left) <= places * micro_batch:
                return _dealt([*left] * times, places)
    places = min(most, -(-len(left) // processes)) * processes
    return _dealt(list(islice(cycle(left), places)), places)


def _dealt(examples: list[int], places: int) -> list[list[int]]:
    return [examples[at::places] for at in range(places)]


class SharedSteps:
    """The batches of an epoch, for as many processes as take turns at them: whole steps, then the short one, shared.

    Wraps a `torch.utils.data.BatchSampler`; a step has `processes` x `passes` of its batches.
    """

    def __init__(self, batches: Any, processes: int, passes: int) -> None:
        self.sampler = batches.sampler  # accelerate gives it the epoch
        self._micro_batch: int = batches.batch_size
        self._processes, self._passes = processes, passes

    def __iter__(self) -> Iterator[list[int]]:
        step: list[int] = []
        for example in self.sampler:
            step.append(example)
            if len(step) == self._processes * self._passes * self._micro_batch:
                yield from (step[at : at + self._micro_batch] for at in range(0, len(step), self._micro_batch))
                step = []
        if step:
            yield from shared_examples(step, self._processes, self._micro_batch, self._passes)

    def __len__(self) -> int:
        whole, left = divmod(len(self.sampler), self._processes * self._passes * self._micro_batch)
        short = shared_examples(range(left), self._processes, self._micro_batch, self._passes) if left else []
        return whole * self._processes * self._passes + len(short)


def share_steps(trainer: Any) -> None:
    """Have a Trainer of several processes share short steps so; one process has them as they are."""
    processes, passes = trainer.accelerator.num_processes, trainer.args.gradient_accumulation_steps
    if processes == 1:
        return
    make = trainer.get_train_dataloader

    def shared() -> Any:
        loader = make()
        dealt = loader.batch_sampler  # accelerate's, of which each process has every so-many-th batch
        dealt.batch_sampler = SharedSteps(dealt.batch_sampler, processes, passes)
        dealt.batch_size, dealt.even_batches = None, False
        return loader

    trainer.get_train_dataloader = shared
