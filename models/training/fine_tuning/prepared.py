"""Rows of fine-tuning, tokenised and with their media digested once, and put together into batches of like length.

Of a row its tokens, positions and the digests of its media are kept; pixels are let go at the end of the step, since
the features of a frozen tower are kept by digest (`models.media.vision_cache`). A medium whose features were let go
too is read again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from models.media.vision_cache import MediaFeatures, core_of, is_constant, medium_digests

IGNORED = -100


@dataclass(frozen=True)
class Row:
    """One sequence: `ids` (L,), `positions` (axes, L), from where on it is learnt, and its media with their grids."""

    ids: Any
    positions: Any
    learnt_from: int
    digests: tuple[bytes, ...]
    grids: Any  # (media, 3), or None without media

    def __len__(self) -> int:
        return len(self.ids)


class PreparedRows:
    """The rows of `source` (as `training_rows` makes them, with a processor) as `Row`s; `pad` is the padding token."""

    def __init__(self, source: Any, processor: Any, model: Any) -> None:
        self._source = source
        self._processor = processor
        self._core = core_of(model)
        self._media = MediaFeatures(self._core)
        self._pad = processor.tokenizer.pad_token_id
        self._known: dict[int, Row] = {}
        self._pixels: dict[bytes, tuple[Any, Any]] = {}  # of this step's media that are new

    @staticmethod
    def suit(model: Any) -> bool:
        """Whether a model's features can be kept: a frozen Qwen-VL tower, and a forward pass that takes features."""
        core = core_of(model)
        return (
            core is not None and is_constant(core.visual) and "mm_encoder_outputs" in signature(core.forward).parameters
        )

    def rows(self, places: Sequence[int]) -> list[Row]:
        """The rows at these places."""
        new = [at for at in places if at not in self._known]
        if new:
            self._known.update(zip(new, self._processed(new), strict=True))
        return [self._known[at] for at in places]

    def end_of_step(self) -> None:
        """Let go of pixels."""
        self._pixels = {}

    def batch(self, places: Sequence[int]) -> dict[str, Any]:
        """What the model takes, padded on the right, and `media`, which gives the features of the media."""
        rows = self.rows(places)
        labels = [torch.cat((torch.full((one.learnt_from,), IGNORED), one.ids[one.learnt_from :])) for one in rows]
        padded = partial(pad_sequence, batch_first=True)
        made: dict[str, Any] = {
            "input_ids": padded([one.ids for one in rows], padding_value=self._pad),
            "attention_mask": padded([torch.ones_like(one.ids) for one in rows]),
            "labels": padded(labels, padding_value=IGNORED),
            "position_ids": padded([one.positions.t() for one in rows]).permute(2, 0, 1).contiguous(),
        }
        if any(one.digests for one in rows):
            made["image_grid_thw"] = torch.cat([one.grids for one in rows if one.grids is not None])
            made["media"] = self._features_of(list(places), rows)
        return made

    def _features_of(self, places: list[int], rows: list[Row]) -> Callable[[], dict[str, Any]]:
        digests = [digest for row in rows for digest in row.digests]
        owners = [(place, at) for place, row in zip(places, rows, strict=True) for at in range(len(row.digests))]

        def shown(missing: Sequence[int]) -> Mapping[int, tuple[Any, Any]]:
            gone = sorted({owners[at][0] for at in missing if digests[at] not in self._pixels})
            if gone:
                self._processed(gone)
            return {at: self._pixels[digests[at]] for at in missing}

        return lambda: {"image": self._media.of(digests, shown)}

    def _processed(self, places: Sequence[int]) -> list[Row]:
        read = self._source[list(places)]
        images = [image for row in read["images"] for image in row]
        counts = [len(row) for row in read["images"]]
        made = self._processor(text=read["prompt"], images=images or None, add_special_tokens=False)
        answers = self._processor.tokenizer(read["completion"], add_special_tokens=False)["input_ids"]
        digests: list[bytes] = []
        grids = torch.zeros((0, 3), dtype=torch.long)
        if images:
            pixels, grids = torch.as_tensor(made["pixel_values"]), torch.as_tensor(made["image_grid_thw"])
            digests = medium_digests(pixels, grids)
            parts = pixels.split(grids.prod(-1).tolist())
            self._pixels |= dict(zip(digests, zip(parts, grids.split(1), strict=True), strict=True))
        kinds = made.get("mm_token_type_ids") or [[0] * len(ids) for ids in made["input_ids"]]
        rows, start = [], 0
        for ids, kind, answer, count in zip(made["input_ids"], kinds, answers, counts, strict=True):
            whole = torch.tensor([*ids, *answer])
            own = grids[start : start + count]
            positions = self._positions(whole, torch.tensor([*kind, *[0] * len(answer)]), own)
            rows.append(Row(whole, positions, len(ids), tuple(digests[start : start + count]), own if count else None))
            start += count
        return rows

    def _positions(self, ids: Any, kinds: Any, grids: Any) -> Any:
        if not len(grids):
            return torch.arange(len(ids)).expand(3, -1)
        found, _ = self._core.get_rope_index(ids[None], mm_token_type_ids=kinds[None], image_grid_thw=grids)
        return found[:, 0]
