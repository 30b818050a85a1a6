"""One sequence for a batch of completions, in which each prompt stands once (Prefix Grouper, arXiv 2506.05433).

    [prefix 1] [prefix 2] ... | [suffix 1.1] [suffix 1.2] ... [suffix 2.1] ...

A prefix is a prompt without its last token. A suffix starts with that token and ends before the last of its completion:
what is computed at each of its places is the prediction of one token of the completion, and nothing else is predicted.
There is no padding: what is masked in the batch is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

IGNORED = -100  # the label of what is not scored, as transformers has it


@dataclass(frozen=True)
class Layout:
    """How the suffixes of a packed sequence attend to prefixes: what `attention.py` needs.

    `prefixes` are the lengths of the prefixes, which stand first. `blocks` are each prefix's number of suffixes and the
    longest of them, to which they are padded while they attend. `padded` are the places of the suffixes' tokens in all
    blocks, `places` the way back, and `masks` (longest, prefix + longest) are true where a suffix attends.
    """

    prefixes: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]
    padded: torch.Tensor
    places: torch.Tensor
    masks: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Packed:
    """`ids` and `positions` (axes, tokens) of all tokens; `labels`, `rows` and `columns` of those of the suffixes.

    A label stands in the batch at its row and column. `first` are the rows whose prompts and media are taken.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    first: tuple[int, ...]
    layout: Layout


def packed(
    ids: torch.Tensor,
    labels: torch.Tensor,
    prompts: Sequence[torch.Tensor],
    groups: Sequence[Sequence[int]],
    positions: Sequence[torch.Tensor],
) -> Packed:
    """The rows of a batch as one sequence.

    `ids` and `labels` (rows, columns) are those of the batch; `prompts` are the columns of each row's prompt, and
    `positions` (axes, tokens) those of each group's. Where no row has a label one place is packed and not scored, so
    that there is something to compute and a gradient of nothing.
    """
    device = ids.device
    kept = labels != IGNORED
    columns = [torch.nonzero(row).flatten() for row in kept]
    order = [row for group in groups for row in group if len(columns[row])] or [groups[0][0]]
    if not bool(kept.any()):
        columns[order[0]] = torch.tensor([ids.shape[1] - 1], device=device)
    held = [[row for row in group if row in set(order)] for group in groups]
    used = [at for at, rows in enumerate(held) if rows]
    first = tuple(groups[at][0] for at in used)
    prefixes, suffixes, places_of = [], [], []
    for at in used:
        prompt = prompts[groups[at][0]]
        prefixes.append((ids[groups[at][0], prompt[:-1]], positions[at][:, :-1]))
        for row in held[at]:
            count = len(columns[row])
            tokens = torch.cat([ids[row, prompts[row][-1:]], ids[row, columns[row][:-1]]])
            steps = torch.arange(count, device=device)
            suffixes.append((tokens, positions[at][:, -1:] + steps))
            places_of.append((row, columns[row]))
    rows = torch.cat([torch.full_like(columns, row) for row, columns in places_of])
    found = torch.cat([columns for _, columns in places_of])
    return Packed(
        ids=torch.cat([tokens for tokens, _ in prefixes + suffixes]),
        positions=torch.cat([places for _, places in prefixes + suffixes], dim=1),
        labels=labels[rows, found],
        rows=rows,
        columns=found,
        first=first,
        layout=_layout(
            [len(one) for one, _ in prefixes], [[len(columns[row]) for row in held[at]] for at in used], device
        ),
    )


def _layout(prefixes: list[int], suffixes: list[list[int]], device: Any) -> Layout:
    blocks, padded, places, masks = [], [], [], []
    token = place = 0
    for prefix, lengths in zip(prefixes, suffixes, strict=True):
        longest = max(lengths)
        for length in lengths:
            # Padding repeats a token of the suffix: it stands behind all that is real, so nothing attends to it.
            padded.append(token + torch.arange(longest).clamp_(max=length - 1))
            places.append(place + torch.arange(length))
            token += length
            place += longest
        blocks.append((len(lengths), longest))
        masks.append(torch.ones(longest, prefix + longest, dtype=torch.bool, device=device).tril_(prefix))
    return Layout(
        tuple(prefixes), tuple(blocks), torch.cat(padded).to(device), torch.cat(places).to(device), tuple(masks)
    )
