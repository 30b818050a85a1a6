"""Memory on a device while a stage trains or generates, from sizes alone: no torch, no weights, no device.

A trained weight is float32 and costs 16 bytes (itself, its gradient, Adam's two moments) and, where the compute type is
narrower, its copy in that type; a frozen one costs its compute type. That is exact. Activations are counted as by
Korthikanti et al. (arXiv 2205.05198, section 4.1): what each operation keeps for its gradient. Their layer is GPT's, in
16 bits and with dropout; ours are those of transformers 5.23 with the adapters of peft 0.21. With gradient
checkpointing a layer keeps its input alone, and one layer at a time is computed again.

Logits are of completions alone, and never whole: TRL 1.16 goes through them in tiles of 4096 tokens by 32768 words
(`trl.kernels`).
tests/models/sizing/test_memory.py holds all this against what the trainers allocate on reduced models.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from models.sizing.shape import LinearAttention, ModelShape, TextShape, Vision

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
MASTER = 4  # bytes of a trained weight, of its gradient, and of each of Adam's two moments
TILE_TOKENS, TILE_WORDS = 4096, 32768
AT_ONCE, FEWEST = 2**20, 128  # logits, and positions, that fine-tuning with a frozen head scores together on a CPU
CHUNK = 64  # tokens that transformers' own gated delta rule takes at once
GENERATED = 4  # copies of the next token's logits, float32, that choosing it takes
# A process that has loaded the libraries, measured; of a GPU its runtime's own. And the share of what comes and goes
# that a C heap holds beside it: rehearsals on a CPU peak by about so much above their tensors (docs/training.md).
OVERHEAD = {"cpu": 900 * 2**20, "cuda": 700 * 2**20}
HEAP = {"cpu": 0.35, "cuda": 0.0}


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the worst moment, by what they are for.

    `weights` hold their copies in the compute type too; `media` are pictures as patches and as the vision tower's
    features; `cache` are keys and values of what is generated; `overhead` is the process's own.
    """

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    reference: int = 0
    activations: int = 0
    media: int = 0
    logits: int = 0
    cache: int = 0
    overhead: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, one.name) for one in fields(self))

    @property
    def certain(self) -> int:
        """What is counted exactly: weights, gradients, the optimizer and the reference."""
        return self.weights + self.gradients + self.optimizer + self.reference

    def least(self, factor: float) -> int:
        """What is needed in any case, if all that is not certain were estimated too high by `factor`."""
        return self.certain + int((self.total - self.certain) / factor)


@dataclass(frozen=True)
class Sequences:
    """`count` sequences handled together.

    Each shows `pictures` of `pixels` at most, has `prompt` tokens with those of its pictures, and up to `completion`
    tokens more.
    """

    count: int
    pictures: int
    pixels: int
    prompt: int
    completion: int

    @property
    def tokens(self) -> int:
        """Tokens of all at their longest."""
        return self.count * (self.prompt + self.completion)


@dataclass(frozen=True)
class Weights:
    """How a model's weights are held: `dtype` is the compute type, `rank` that of the adapters, None for full training.

    `shards` are the devices that weights, gradients and optimizer are divided among (ZeRO-3, arXiv 1910.02054; FSDP).
    """

    dtype: str
    rank: int | None = None
    dropout: bool = True  # of the adapters
    frozen_vision: bool = True
    reference: bool = False
    shards: int = 1


def trained(shape: ModelShape, how: Weights) -> int:
    """How many weights are trained."""
    if how.rank is not None:
        return shape.adapters(how.rank)
    return shape.text.weights + (0 if how.frozen_vision else shape.vision.weights)


def states(shape: ModelShape, how: Weights) -> Memory:
    """What training holds before the first token: weights, gradients, optimizer, and GRPO's reference."""
    c, count = BYTES[how.dtype], trained(shape, how)
    frozen = shape.weights - (count if how.rank is None else 0)
    cast = c * count if c < MASTER else 0
    if how.shards > 1 and cast:  # gathered and cast a layer at a time, and the next one meanwhile
        cast = min(cast, 2 * c * max(_layer(shape.text), shape.text.embeddings))
    return Memory(
        weights=(MASTER * count + c * frozen) // how.shards + cast,
        gradients=MASTER * count // how.shards,
        optimizer=2 * MASTER * count // how.shards,
        # With adapters it is the base without them.
        reference=c * shape.weights // how.shards if how.reference and how.rank is None else 0,
    )


def training(
    shape: ModelShape,
    how: Weights,
    micro: Sequences,
    *,
    checkpointing: bool,
    device: str,
    held: Sequences | None = None,
) -> Memory:
    """Memory of an optimizer step that handles `micro` at once; `held` are a generation's, whose pictures wait."""
    kept = kept_by_layer(shape.text, how, micro, device)
    first = residual_size(how) * shape.text.hidden
    layers = shape.text.layers * first + max(kept.values()) if checkpointing else sum(_each(shape.text, kept))
    passing = 2 * BYTES[how.dtype] * shape.text.intermediate + 3 * MASTER * shape.text.hidden  # gradients on their way
    media = pictures(shape, micro, how.dtype)
    if not (how.frozen_vision or how.rank is not None):
        media += _vision_kept(shape.vision, how) * _patches(shape, micro)
    lying = 0 if held is None else _patches(shape, held) * shape.vision.patch_values * 4
    needed = replace(
        states(shape, how),
        activations=max(micro.tokens * (layers + passing), looking(shape, micro, how.dtype)),
        media=media + lying,
        logits=_tile(shape, micro, how, device, fine_tuning=held is None),
    )
    return _with_overhead(needed, device)


def generating(shape: ModelShape, dtype: str, batch: Sequences, *, device: str, beside: Memory | None = None) -> Memory:
    """Memory of generating `batch` together; `beside` are the states of a training that it is done within (GRPO)."""
    c, t = BYTES[dtype], shape.text
    r = 4 if beside and beside.gradients > beside.weights // 4 else c
    longest = batch.prompt + batch.completion
    attended = 6 * c * t.queries + longest * (1 + c)
    if t.delta:
        attended = max(attended, 32 * t.delta.values + 12 * CHUNK * t.delta.value_heads)
    reading = t.hidden * (2 * r + c) + max(3 * c * t.intermediate, 8 * t.hidden, attended)
    needed = replace(
        beside or Memory(weights=c * shape.weights),
        # No gradient is there while it generates: the step before has dropped them.
        gradients=0,
        activations=max(batch.count * batch.prompt * reading, looking(shape, batch, dtype)),
        media=pictures(shape, batch, dtype),
        logits=batch.count * t.vocabulary * 4 * GENERATED,
        cache=cached(t, batch, c),
    )
    return _with_overhead(needed, device)


def _with_overhead(needed: Memory, device: str) -> Memory:
    """What the process holds beside its tensors."""
    passing = needed.total - needed.certain
    return replace(needed, overhead=OVERHEAD[device] + int(HEAP[device] * passing))


def cached(text: TextShape, batch: Sequences, size: int) -> int:
    """Bytes of keys and values; linear attention keeps a state of fixed size instead."""
    growing = text.full * 2 * text.keys * size * batch.tokens
    if not (d := text.delta):
        return growing
    state = d.value_heads * d.key_dim * d.value_dim * 4 + d.mixed * d.kernel * size
    return growing + text.linear * state * batch.count


def pictures(shape: ModelShape, some: Sequences, dtype: str) -> int:
    """Bytes of pictures as patches, float32 numbers, and as the features that the vision tower makes of them."""
    v = shape.vision
    return _patches(shape, some) * (4 * v.patch_values + (1 + v.deepstack) * v.out * BYTES[dtype] // v.merge**2)


def looking(shape: ModelShape, some: Sequences, dtype: str) -> int:
    """Bytes of the vision tower at its widest, where it keeps nothing; the text is read after it."""
    v, c = shape.vision, BYTES[dtype]
    embedding = c * v.patch_values if c < 4 else 0
    attention = (7 * c + 16) * v.hidden  # queries and keys are rotated in float32
    return _patches(shape, some) * (3 * c * v.hidden + max(embedding, 3 * c * v.intermediate, attention))


def residual_size(how: Weights) -> int:
    """Bytes of a number between layers: of the type of the embeddings, which autocast leaves as it is."""
    return MASTER if how.rank is None else BYTES[how.dtype]


def kept_by_layer(text: TextShape, how: Weights, micro: Sequences, device: str) -> dict[str, int]:
    """Bytes a token that one layer of each kind keeps for its gradient, without checkpointing."""
    c = BYTES[how.dtype]
    attention = 4 * c * text.queries + (2 * c * text.queries if text.gated else 0)
    attention += c * (micro.prompt + micro.completion)  # the mask of padding, spread out
    if text.norms:
        attention += (4 if how.rank is not None else 4 + c) * (text.queries + text.keys)
    kept = {"full": attention}
    if text.delta:
        kept["linear"] = _delta_kept(text.delta, c)
    kinds = {"full": text.full, "linear": text.linear}
    return {kind: kept[kind] + _around(text, how, kind, device) for kind, count in kinds.items() if count}


def _around(text: TextShape, how: Weights, kind: str, device: str) -> int:
    """What a layer keeps beside its attention: norms, inputs of linear layers, and the feed-forward layer."""
    c, h, i = BYTES[how.dtype], text.hidden, text.intermediate
    if how.rank is None:
        inputs = 5 * c if c < MASTER else 2 * c  # cast again for each layer that takes them
        return h * (4 * MASTER + inputs) + 4 * c * i
    # The base's linear layers are frozen and keep nothing; each adapter keeps its input and what dropout removed.
    dropped = 0 if not how.dropout else 1 if device == "cuda" else MASTER
    linears = text.linears(kind)
    adapters = sum(a for a, _ in linears) * (c + dropped) + len(linears) * c * how.rank
    return 2 * MASTER * h + 3 * c * i + adapters


def _delta_kept(d: LinearAttention, c: int) -> int:
    """Bytes a token that the gated delta rule in torch keeps; the kernels of flash-linear-attention keep far less."""
    values = d.values * (44 + 39 * c // 4)
    chunks = d.value_heads * CHUNK * (8 + 3 * c)
    state = d.values * d.key_dim * (4 + 2 * c) // CHUNK
    return values + chunks + state + 2 * c * d.mixed


def _vision_kept(v: Vision, how: Weights) -> int:
    """Bytes a patch that the vision tower keeps where it is trained too."""
    c = BYTES[how.dtype]
    feed = (4 if v.gated else 2) * c * v.intermediate
    return v.depth * (v.hidden * (4 * MASTER + 5 * c + 8 + 8 * c) + feed)


def _tile(shape: ModelShape, micro: Sequences, how: Weights, device: str, *, fine_tuning: bool) -> int:
    """The tile of logits, and the gradient of the output embeddings before it is added to theirs."""
    c, t = BYTES[how.dtype], shape.text
    # GRPO scores every position where TRL has no kernel and prompts are not shared (models/training/prefix/).
    everywhere = not fine_tuning and device != "cuda" and bool(t.delta)
    scored = micro.tokens if everywhere else micro.count * micro.completion
    if fine_tuning and device != "cuda" and how.rank is not None:  # models/training/fine_tuning/label_loss.py
        logits = min(scored, max(FEWEST, AT_ONCE // t.vocabulary)) * t.vocabulary * (2 * c + 2 * MASTER)
    else:  # TRL's; without a GPU's kernel in eight float32 copies of the tile
        tile = min(scored, TILE_TOKENS) * min(t.vocabulary, TILE_WORDS)
        logits = tile * (c if device == "cuda" else c + 8 * MASTER)
    hidden = micro.tokens * t.hidden * (MASTER + c)
    return logits + hidden + (MASTER * t.embeddings if how.rank is None else 0)


def _layer(text: TextShape) -> int:
    """Weights of the larger of its kinds of layer."""
    return max(sum(a * b for a, b in text.linears(kind)) for kind in ("full", "linear"))


def _each(text: TextShape, kept: dict[str, int]) -> Sequence[int]:
    return [count * kept[kind] for kind, count in (("full", text.full), ("linear", text.linear)) if count]


def _patches(shape: ModelShape, some: Sequences) -> int:
    return some.count * some.pictures * shape.patches(some.pixels)
