"""A cache of keys and values with room for further tokens, whose attended part is as long as what was written.

transformers' dynamic layer copies all it has at every token, and its static one attends over the room that is still
empty. On a CPU, where attention is bound by memory, each costs about as much as the rest of a decoding step.
"""

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

BLOCK = 64  # tokens of room that are added at a time


class GrowingLayer(DynamicLayer):
    """What a `DynamicLayer` has come to, with room behind it: tensors (rows, heads, tokens, width), filled in place."""

    def __init__(self, filled: DynamicLayer) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = filled.dtype, filled.device, True
        self._hold(filled.keys, filled.values)

    def _hold(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Take these, with a block of room behind them."""
        length = keys.shape[-2]
        self._room = [one.new_empty((*one.shape[:-2], length + BLOCK, one.shape[-1])) for one in (keys, values)]
        for room, one in zip(self._room, (keys, values), strict=True):
            room[..., :length, :] = one
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = (room[..., :length, :] for room in self._room)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """See `DynamicLayer.update`."""
        before = self.keys.shape[-2]
        after = before + key_states.shape[-2]
        while after > self._room[0].shape[-2]:
            self._hold(self.keys, self.values)
            self._show(before)
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[..., before:after, :] = new
        self._show(after)
        return self.keys, self.values

    def crop(self, tokens_to_remove: int) -> None:
        """See `DynamicLayer.crop`."""
        self._show(self.keys.shape[-2] - abs(tokens_to_remove))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """See `DynamicLayer.batch_repeat_interleave`."""
        self._hold(self.keys.repeat_interleave(repeats, dim=0), self.values.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """See `DynamicLayer.batch_select_indices`."""
        self._hold(self.keys[indices], self.values[indices])

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Keep these rows, in this order; a row may be kept several times."""
        at = beam_idx.to(self.device)
        self._hold(self.keys.index_select(0, at), self.values.index_select(0, at))


def give_room(cache: Any) -> None:
    """Replace the cache's dynamic layers by growing ones; layers of other kinds (windows, recurrent states) stay."""
    layers = getattr(cache, "layers", [])
    for at, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            layers[at] = GrowingLayer(layer)
