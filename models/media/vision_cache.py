"""What a frozen vision tower makes of a medium, computed once for each medium and kept within a budget of bytes.

A frozen tower gives the same features for the same pixels in every epoch, in both orders of a pair and for each sample
of a prompt. The seam is transformers' `get_image_features` (Qwen-VL families, 5.23): `cached_vision` puts the cache in
there for whoever passes pixel values; `MediaFeatures` is for a caller that keeps digests and no pixels.

Media are computed in batches of a shape that is theirs alone: large ones by themselves, small ones filled up to
`PATCHES` with blanks. So their features do not depend, in their last bits, on what shares a batch or on what was kept
before, and a resumed run ends with the same bytes.
"""

import contextlib
import functools
import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.adapters import without_adapters

BUDGET = 2**30  # bytes, where nobody sets another; they are on the CPU
PATCHES = 256  # of small media that are computed together
Key = tuple[bytes, bytes]  # of the tower and how it computes, and of the medium


@dataclass(frozen=True)
class Features:
    """One medium's features on the CPU: `pooled` and each of `deep` are (tokens, hidden); `made` is their class."""

    made: type
    pooled: Any
    deep: tuple[Any, ...] | None = None

    @property
    def bytes(self) -> int:
        """The memory that they take."""
        return sum(one.numel() * one.element_size() for one in (self.pooled, *(self.deep or ())))


class VisionCache:
    """Features by medium and tower; several threads may use one.

    When full, entries chosen at random go: epochs go round in a circle, in which what was used longest ago is always
    what is needed next.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._kept: dict[Key, Features] = {}
        self._order: list[Key] = []
        self._random = random.Random(0)  # whatever is kept, results are the same
        self._lock = threading.Lock()

    def get(self, key: Key) -> Features | None:
        """What is kept under this key."""
        with self._lock:
            found = self._kept.get(key)
            self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
            return found

    def put(self, key: Key, features: Features) -> None:
        """Keep them if they fit into the budget at all."""
        with self._lock:
            if key in self._kept or features.bytes > self.budget:
                return
            while self.bytes + features.bytes > self.budget:
                at = self._random.randrange(len(self._order))
                self._order[at], self._order[-1] = self._order[-1], self._order[at]
                self.bytes -= self._kept.pop(self._order.pop()).bytes
            self._kept[key] = features
            self._order.append(key)
            self.bytes += features.bytes


SHARED = VisionCache()


def medium_digests(pixels: Any, grids: Any) -> list[bytes]:
    """The digest of each medium's pixels: (patches, values) of all media, with `grids` (media, 3) of patches."""
    sizes = grids.prod(-1).tolist()
    shapes = grids.tolist()
    parts = pixels.detach().cpu().contiguous().split(sizes)
    return [_digest(repr((shape, str(part.dtype))).encode(), part) for shape, part in zip(shapes, parts, strict=True)]


def _digest(start: bytes, *tensors: Any) -> bytes:
    import torch

    made = hashlib.blake2b(start, digest_size=16)
    for tensor in tensors:
        made.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return made.digest()


def core_of(model: Any) -> Any:
    """The module within `model` (PEFT's or another wrapper aside) that has the tower as `visual`; None without one."""
    unwrapped = without_adapters(model)
    for one in (unwrapped, getattr(unwrapped, "model", None)):
        if hasattr(one, "visual") and hasattr(one, "get_image_features"):
            return one
    return None


def is_constant(tower: Any) -> bool:
    """Whether a tower gives the same for the same pixels: nothing in it is trained, and nothing is dropped."""
    active = [module for module in tower.modules() if module.training]
    shares = [getattr(module, "p", 0.0) for module in active if "Dropout" in type(module).__name__]
    dropping = any(shares) or any(getattr(module, "attention_dropout", 0.0) for module in active)
    return not dropping and not any(one.requires_grad for one in tower.parameters())


class MediaFeatures:
    """The features of a model's media, from the cache or by the model's own `original` `get_image_features`."""

    def __init__(self, core: Any, cache: VisionCache = SHARED, original: Callable[..., Any] | None = None) -> None:
        self.core = core
        self.cache = cache
        self._original = original or core.get_image_features
        self._known: tuple[Any, bytes] | None = None

    def tower_digest(self) -> bytes:
        """Of the tower's weights and of how it computes them; weights are read again only if they were written to."""
        import torch

        tower = self.core.visual
        weights = [*tower.parameters(), *tower.buffers()]
        written = tuple((one.data_ptr(), one._version, one.dtype) for one in weights)  # noqa: SLF001
        if self._known is None or self._known[0] != written:
            self._known = written, _digest(type(tower).__name__.encode() + repr(tower.config).encode(), *weights)
        kind = weights[0].device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        how = (kind, str(weights[0].dtype), str(autocast), tower.config._attn_implementation)  # noqa: SLF001
        return self._known[1] + repr(how).encode()

    def of(self, digests: Sequence[bytes], shown: Callable[[Sequence[int]], Mapping[int, tuple[Any, Any]]]) -> Any:
        """The output of `get_image_features` for media of these digests, on the model's device.

        `shown(places)` gives the pixels (patches, values) and the grid (1, 3) of the media at these places: it is
        called once, for those that are not kept.
        """
        tower = self.tower_digest()
        known: dict[bytes, Features] = {}
        missing: list[int] = []
        for one, at in {one: at for at, one in enumerate(digests)}.items():
            found = self.cache.get((tower, one))
            if found is None:
                missing.append(at)
            else:
                known[one] = found
        alike: dict[tuple[int, ...], list[int]] = {}
        media = shown(missing) if missing else {}
        for at, (_, grid) in media.items():
            alike.setdefault(tuple(grid.flatten().tolist()), []).append(at)
        for places_alike in alike.values():
            for at, made in self._computed(places_alike, media):
                known[digests[at]] = made
                self.cache.put((tower, digests[at]), made)
        return self._together([known[one] for one in digests])

    def _computed(self, places: Sequence[int], media: Mapping[int, tuple[Any, Any]]) -> Iterator[tuple[int, Features]]:
        """The features of media of one grid."""
        import torch

        pixels, grid = media[places[0]]
        device, rows = self.core.visual.device, max(1, PATCHES // len(pixels))
        for start in range(0, len(places), rows):
            some = places[start : start + rows]
            # Outside inference mode: what is kept by sampling may be used in training.
            with torch.inference_mode(mode=False), torch.no_grad():
                filled = pixels.new_zeros((rows * len(pixels), *pixels.shape[1:]), device=device)
                filled[: len(some) * len(pixels)] = torch.cat([media[at][0] for at in some]).to(device)
                out = self._original(filled, grid.clone().to(device).repeat(rows, 1), return_dict=True)
            deep = getattr(out, "deepstack_features", None)
            for at, place in enumerate(some):
                copied = None if deep is None else tuple(one[at].detach().cpu().clone() for one in deep)
                yield place, Features(type(out), out.pooler_output[at].detach().cpu().clone(), copied)

    def _together(self, media: Sequence[Features]) -> Any:
        device = self.core.visual.device
        deep: dict[str, Any] = {}
        if media[0].deep is not None:
            layers = zip(*(one.deep or () for one in media), strict=True)
            deep = {"deepstack_features": [tuple(one.to(device) for one in layer) for layer in layers]}
        return media[0].made(pooler_output=tuple(one.pooled.to(device) for one in media), **deep)


@contextlib.contextmanager
def cached_vision(model: Any, cache: VisionCache = SHARED) -> Iterator[VisionCache]:
    """Within it `model` takes the features of images and videos that it was shown before from `cache`.

    Wherever the tower is not constant, or is asked for more than features (attentions, hidden states), it computes as
    ever. May be nested; models of families without a Qwen-VL tower stay as they are.
    """
    core = core_of(model)
    names = [name for name in ("get_image_features", "get_video_features") if hasattr(core, name)]
    before = {name: core.__dict__.get(name) for name in names}
    for name in names:
        setattr(core, name, _looking_up(core, getattr(core, name), cache))
    try:
        yield cache
    finally:
        for name, one in before.items():
            if one is None:
                delattr(core, name)
            else:
                setattr(core, name, one)


def _looking_up(core: Any, original: Callable[..., Any], cache: VisionCache) -> Callable[..., Any]:
    media = MediaFeatures(core, cache, original)

    @functools.wraps(original)  # `generate` reads the signature
    def features(pixels: Any = None, grids: Any = None, **more: Any) -> Any:
        pixels = more.pop("pixel_values", more.pop("pixel_values_videos", pixels))
        grids = more.pop("image_grid_thw", more.pop("video_grid_thw", grids))
        wanted = any(more.get(name) for name in ("output_attentions", "output_hidden_states"))
        if grids is None or wanted or more.get("return_dict") is False or not is_constant(core.visual):
            return original(pixels, grids, **more)
        sizes = grids.prod(-1).tolist()
        parts, shapes = pixels.split(sizes), grids.split(1)
        return media.of(medium_digests(pixels, grids), lambda places: {at: (parts[at], shapes[at]) for at in places})

    return features
