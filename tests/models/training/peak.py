"""The most bytes of tensors alive at once, on any device: what a device would have to hold."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Within this context, `bytes` is the peak of the storages that operations take or make, while they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._live = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves((args, kwargs, made)):  # weights that were read from a file are no operation's result
            if isinstance(one, torch.Tensor):
                self._add(one.untyped_storage())
        return made

    def _add(self, storage: Any) -> None:
        name, size = id(storage), storage.nbytes()
        if name in self._known or storage.device.type == "meta":
            return

        def gone(_: Any) -> None:
            self._live -= size
            del self._known[name]

        self._known[name] = weakref.ref(storage, gone)
        self._live += size
        self.bytes = max(self.bytes, self._live)
