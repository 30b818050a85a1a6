"""A cache of keys and values with some room for further tokens, so that a token is written in place.

transformers' dynamic layer copies all it has at every token; its static one has room for the longest completion, and
attends over it however short the completions are. Here the room is a block, and is renewed when it is full.

The whole room is one tensor without gaps. Reading it as a whole is faster on a CPU than reading the part that is filled
(`one_query`), so what `update` returns carries it.
"""

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

BLOCK = 32  # tokens of room: copying all at each full block, and reading those yet empty, both cost a few per cent


class GrowingLayer(DynamicLayer):
    """What a `DynamicLayer` has come to, with room behind it: tensors (rows, heads, tokens, width), filled in place.

    `keys` and `values` are the part that is filled; their attribute `room` is the whole, zero where it is empty.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, filled: DynamicLayer) -> None:
        super().__init__()
        assert filled.keys is not None, "an initialised layer has both"
        assert filled.values is not None, "an initialised layer has both"
        self.dtype, self.device, self.is_initialized = filled.dtype, filled.device, True
        self._hold(filled.keys, filled.values)

    def _hold(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Take these, with a block of room behind them."""
        length = keys.shape[-2]
        self._rooms = [one.new_empty((*one.shape[:-2], length + BLOCK, one.shape[-1])) for one in (keys, values)]
        for room, one in zip(self._rooms, (keys, values), strict=True):
            room[..., :length, :] = one
            room[..., length:, :] = 0
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = (room[..., :length, :] for room in self._rooms)
        for view, room in zip((self.keys, self.values), self._rooms, strict=True):
            view.room = room  # type: ignore[attr-defined]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """See `DynamicLayer.update`."""
        before = self.keys.shape[-2]
        after = before + key_states.shape[-2]
        while after > self._rooms[0].shape[-2]:
            self._hold(*self._rooms)
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., before:after, :] = new
        self._show(after)
        return self.keys, self.values

    def crop(self, tokens_to_remove: int) -> None:
        """See `DynamicLayer.crop`."""
        length = self.keys.shape[-2] - abs(tokens_to_remove)
        self._hold(self.keys[..., :length, :], self.values[..., :length, :])

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep these rows, in this order; a row may be kept several times."""
        at = beam_idx.to(self.device)
        self._hold(self.keys.index_select(0, at), self.values.index_select(0, at))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """See `DynamicLayer.batch_repeat_interleave`."""
        self._hold(self.keys.repeat_interleave(repeats, dim=0), self.values.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """See `DynamicLayer.batch_select_indices`."""
        self._hold(self.keys[indices, ...], self.values[indices, ...])


def give_room(cache: Any) -> None:
    """Replace the cache's dynamic layers by growing ones; layers of other kinds (windows, recurrent states) stay."""
    layers = getattr(cache, "layers", [])
    for at, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            layers[at] = GrowingLayer(layer)
