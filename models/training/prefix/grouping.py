"""Which rows of a batch of GRPO share a prompt, and parts of a batch in which such rows are together."""

from collections.abc import Sequence
from typing import Any

import torch
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid


def prompt_groups(prompts: Sequence[tuple[int, ...]], media: Sequence[torch.Tensor | None]) -> list[list[int]]:
    """The rows that share a prompt, in order of their first: equal tokens, and equal `media` to the last bit.

    >>> prompt_groups([(5, 6), (7,), (5, 6)], [None, None, None])
    [[0, 2], [1]]
    """
    groups: list[list[int]] = []
    known: dict[tuple[int, ...], list[list[int]]] = {}
    for row, prompt in enumerate(prompts):
        like = known.setdefault(prompt, [])
        group = next((one for one in like if _same(media[one[0]], media[row])), None)
        if group is None:
            group = []
            like.append(group)
            groups.append(group)
        group.append(row)
    return groups


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


def groups_of(split: dict[str, Any]) -> list[list[int]]:
    """`prompt_groups` of a step of TRL whose media are split by row (`split_pixel_values_by_grid`)."""
    ids, mask = split["prompt_ids"], split["prompt_mask"].bool()
    prompts = [tuple(row[real].tolist()) for row, real in zip(ids, mask, strict=True)]
    pixels = split.get("pixel_values")
    return prompt_groups(prompts, pixels if isinstance(pixels, list) else [None] * len(prompts))


def by_prompts(
    groups: Sequence[Sequence[int]],
    lengths: Sequence[tuple[int, int]],
    *,
    tokens: int,
    rows: int,
    at_least: int = 1,
) -> list[list[int]]:
    """As `by_tokens` (models/generation/micro_batches.py), where the rows of a group compute their prompt once.

    A length is that of a prompt and that of a completion. A part's tokens are its completions' and those of each of its
    prompts, once. A group is divided only if it is beyond the limits by itself, or to come to `at_least` parts.

    >>> by_prompts([[0, 2], [1, 3]], [(90, 5), (80, 5), (90, 9), (80, 2)], tokens=200, rows=4)
    [[1, 3, 0, 2]]
    >>> by_prompts([[0, 2], [1, 3]], [(90, 5), (80, 5), (90, 9), (80, 2)], tokens=110, rows=4)
    [[1, 3], [0, 2]]
    """
    parts: list[list[int]] = []
    held = 0
    for group in sorted(groups, key=lambda group: (sum(lengths[group[0]]), group[0])):
        prompt, whole = lengths[group[0]][0], sum(lengths[row][1] for row in group)
        opened = not parts or held + prompt + whole > tokens or len(parts[-1]) + len(group) > rows
        for row in group:
            more = lengths[row][1]
            if opened or held + more > tokens or len(parts[-1]) == rows:
                parts.append([])
                held = prompt
            elif row == group[0]:
                held += prompt
            opened = False
            parts[-1].append(row)
            held += more
    while len(parts) < min(at_least, len(lengths)):
        widest = max(range(len(parts)), key=lambda one: len(parts[one]))
        part = parts[widest]
        parts[widest : widest + 1] = [part[: len(part) // 2], part[len(part) // 2 :]]
    return parts


def rows_of(fields: dict[str, Any], places: list[int], size: int) -> dict[str, Any]:
    """Of fields that hold `size` rows those at `places`, and the other fields as they are."""

    def chosen(value: Any) -> Any:
        if isinstance(value, list):
            return [value[at] for at in places]
        whole = isinstance(value, torch.Tensor) and value.ndim and len(value) == size
        return value[torch.tensor(places, device=value.device)] if whole else value

    return {name: chosen(value) for name, value in fields.items()}


def regrouped(batches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The micro-batches of one optimizer step with the same rows, those of a prompt in one as far as they fit.

    TRL shuffles a generation, so that a prompt's completions are in many micro-batches. Their gradients add up to the
    same whatever their order in a step is.
    """
    size = len(batches[0]["prompt_ids"])
    split = [split_pixel_values_by_grid(batch) for batch in batches]
    together = {name: _joined([batch[name] for batch in split]) for name in split[0]}
    order = [row for group in groups_of(together) for row in group]
    return [
        unsplit_pixel_values_by_grid(rows_of(together, order[at : at + size], len(order)))
        for at in range(0, len(order), size)
    ]


def _joined(values: list[Any]) -> Any:
    """A field of several micro-batches as one; what is of the whole generation, and not by row, is the same in all."""
    if isinstance(values[0], list):
        return [one for value in values for one in value]
    return torch.cat(values) if isinstance(values[0], torch.Tensor) and values[0].ndim else values[0]
