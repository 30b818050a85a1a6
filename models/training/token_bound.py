"""Micro-batches bounded by tokens: an optimizer step takes the sequences it always takes, split by their length.

The trainer sees one batch for each step, of which the parts are computed one after the other, and gradients add up.
Parts are uneven, so each is weighed by what it holds: fine-tuning (`fine_tuning/trainer.py`) divides by the step's
tokens, GRPO by what its loss divides by. Steps, their data and the position in them are those without a bound.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from models.generation.micro_batches import by_tokens
from models.training.prefix.grouping import by_prompts, groups_of, rows_of

OF_PROMPT = ("prompt_ids", "prompt_mask")
OF_COMPLETION = ("completion_ids", "completion_mask", "old_per_token_logps", "ref_per_token_logps")
OF_BOTH = ("token_type_ids", "mm_token_type_ids")


def split_evenly_often(
    trainer: Any, lengths: Sequence[tuple[int, ...]], split: Callable[..., list[list[int]]] = by_tokens, **limits: int
) -> list[list[int]]:
    """`split` by its limits, in as many parts on each process as on that which needs most: they meet in every part."""
    parts = split(lengths, **limits)
    if trainer.accelerator.num_processes == 1:
        return parts
    counts = trainer.accelerator.gather(torch.tensor([len(parts)], device=trainer.accelerator.device))
    return split(lengths, **limits, at_least=int(counts.max()))


def unsynchronised(trainer: Any, model: Any, last: bool) -> Any:
    """Where gradients add up on each process, and are averaged over all in the last part alone."""
    return contextlib.nullcontext() if last else trainer.accelerator.no_sync(model)


@contextlib.contextmanager
def gathering_unlike(accelerator: Any) -> Iterator[None]:
    """Where each process may gather another number of rows: the fewer are filled up with what is no number."""
    gather = accelerator.gather

    def filled(tensor: torch.Tensor) -> Any:
        whole = accelerator.pad_across_processes(tensor, pad_index=float("nan")) if tensor.ndim else tensor
        return gather(whole)

    accelerator.gather = filled
    try:
        yield
    finally:
        del accelerator.gather  # the instance's, before the class's


def averaged(figures: dict[str, list[float]], before: dict[str, int], weights: Sequence[float]) -> None:
    """Make one value of those that a step's parts added to each figure, weighed; `before` are lengths ahead of it."""
    for name, values in figures.items():
        added = values[before.get(name, 0) :]
        if len(added) == len(weights):
            mean = sum(w * v for w, v in zip(weights, added, strict=True)) / max(sum(weights), 1e-9)
            values[before.get(name, 0) :] = [mean]


class StepPart(dict[str, Any]):
    """Some rows of a step of GRPO, without the padding that only others need."""


def parts_of(
    trainer: Any, step: dict[str, Any], tokens: int, rows: int, *, shared: bool = False
) -> list[tuple[list[int], StepPart]]:
    """The rows of a step of GRPO in parts, each with the places of its rows.

    `shared` says that the rows of a part compute a prompt that they share once.
    """
    prompts, completions = step["prompt_mask"].sum(1).tolist(), step["completion_mask"].sum(1).tolist()
    split = split_pixel_values_by_grid(step)
    lengths = list(zip(prompts, completions, strict=True))
    chosen = split_evenly_often(
        trainer, lengths, partial(by_prompts, groups_of(split)) if shared else by_tokens, tokens=tokens, rows=rows
    )
    size = len(prompts)
    found = []
    for places in chosen:
        part = rows_of(split, places, size)
        prompt = max(prompts[at] for at in places)
        completion = max(1, *(completions[at] for at in places))
        found.append((places, StepPart(unsplit_pixel_values_by_grid(_trimmed(part, prompt, completion)))))
    return found


def _trimmed(part: dict[str, Any], prompt: int, completion: int) -> dict[str, Any]:
    """Prompts are padded on the left, completions on the right: what stands outside the longest of each goes."""
    left, right = part["prompt_ids"].shape[1] - prompt, part["completion_ids"].shape[1] - completion
    for name in OF_PROMPT:
        part[name] = part[name][:, left:]
    for name in OF_COMPLETION:
        if part.get(name) is not None:
            part[name] = part[name][:, :completion]
    for name in OF_BOTH:
        if part.get(name) is not None:
            part[name] = part[name][:, left : part[name].shape[1] - right]
    return part
