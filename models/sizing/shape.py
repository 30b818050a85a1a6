"""A vision-language model's sizes, as far as its memory follows from them, from its `config.json`; its weights counted.

Nothing here imports torch or transformers unless a configuration leaves fields to transformers' defaults. Layers are as
in transformers 5.23 (`modeling_qwen2_5_vl.py`, `modeling_qwen3_vl.py`, `modeling_qwen3_5.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "qwen3_5")
Linear = tuple[int, int]  # inputs, outputs


@dataclass(frozen=True)
class LinearAttention:
    """Gated delta net of Qwen3.5: its keys and values do not grow with the text."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int

    @property
    def keys(self) -> int:
        """Width of all keys together."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """Width of all values together."""
        return self.value_heads * self.value_dim

    @property
    def mixed(self) -> int:
        """Channels of its convolution: queries, keys and values."""
        return 2 * self.keys + self.values


@dataclass(frozen=True)
class Text:
    """The language model. `full` and `linear` count its layers by the kind of their attention."""

    hidden: int
    intermediate: int
    vocabulary: int
    full: int
    linear: int
    queries: int  # width of all query heads together
    keys: int  # width of all key heads together, and of all value heads
    head: int
    bias: bool  # of the projections of queries, keys and values
    output_bias: bool
    norms: bool  # of queries and keys
    gated: bool  # the output of attention, by as wide a projection
    tied: bool
    delta: LinearAttention | None = None

    @property
    def layers(self) -> int:
        """All layers."""
        return self.full + self.linear

    def linears(self, kind: str) -> list[Linear]:
        """The linear layers of one layer, of attention `full` or `linear`; LoRA is put on each."""
        h, i, q, k = self.hidden, self.intermediate, self.queries, self.keys
        if kind == "linear" and (d := self.delta):
            attention = [(h, d.mixed), (h, d.values), (h, d.value_heads), (h, d.value_heads), (d.values, h)]
        else:
            attention = [(h, 2 * q if self.gated else q), (h, k), (h, k), (q, h)]
        return [*attention, (h, i), (h, i), (i, h)]

    @property
    def weights(self) -> int:
        """How many weights it has, the output embeddings included."""
        h, d = self.hidden, self.delta
        full = sum(a * b for a, b in self.linears("full")) + 2 * h
        full += (
            (self.queries * (2 if self.gated else 1) + 2 * self.keys) * self.bias
            + h * self.output_bias
            + 2 * self.head * self.norms
        )
        linear = 0
        if d:
            linear = sum(a * b for a, b in self.linears("linear")) + 2 * h
            linear += d.mixed * d.kernel + 2 * d.value_heads + d.value_dim
        return self.full * full + self.linear * linear + h + self.embeddings * (1 if self.tied else 2)

    @property
    def embeddings(self) -> int:
        """Weights of the input embeddings; those of the output are as many."""
        return self.vocabulary * self.hidden


@dataclass(frozen=True)
class Vision:
    """The vision tower. A patch is `patch` x `patch` pixels of `frames` frames."""

    depth: int
    hidden: int
    intermediate: int
    out: int
    patch: int
    frames: int
    merge: int
    channels: int
    positions: int  # learned ones; 0: rotary alone
    deepstack: int  # further mergers
    gated: bool  # as Qwen2.5-VL's: gated feed-forward layers, norms without a bias

    @property
    def patch_values(self) -> int:
        """Numbers that a patch is given as."""
        return self.channels * self.frames * self.patch**2

    @property
    def weights(self) -> int:
        """How many weights it has, the mergers included."""
        d, i, wide = self.hidden, self.intermediate, self.hidden * self.merge**2
        attention = 4 * d * d + 4 * d
        feed = 3 * d * i + 2 * i + d if self.gated else 2 * d * i + i + d
        norm = d if self.gated else 2 * d
        merger = wide * wide + wide + wide * self.out + self.out
        embedded = self.patch_values * d + (0 if self.gated else d) + self.positions * d
        deep = self.deepstack * (merger + 2 * wide)
        return embedded + self.depth * (attention + feed + 2 * norm) + merger + norm + deep


@dataclass(frozen=True)
class ModelShape:
    """A vision-language model's sizes; `family` is its `model_type`."""

    family: str
    text: Text
    vision: Vision

    @property
    def weights(self) -> int:
        """How many weights it has.

        >>> from models.rehearsal.known import KNOWN
        >>> shape_of(KNOWN["Qwen/Qwen3-VL-8B-Instruct"]).weights
        8767123696
        """
        return self.text.weights + self.vision.weights

    def adapters(self, rank: int) -> int:
        """How many weights LoRA of this rank adds, on every linear layer of the language model."""
        layers = {"full": self.text.full, "linear": self.text.linear}
        return sum(n * rank * (a + b) for kind, n in layers.items() if n for a, b in self.text.linears(kind))

    def patches(self, pixels: int) -> int:
        """Patches of a picture of so many pixels at most."""
        return self.tokens(pixels) * self.vision.merge**2

    def tokens(self, pixels: int) -> int:
        """Tokens of a picture of so many pixels at most.

        >>> from models.rehearsal.known import KNOWN
        >>> [shape_of(one).tokens(147_456) for one in KNOWN.values()]
        [189, 144, 144]
        """
        side = self.vision.patch * self.vision.merge
        return max(1, -(-pixels // side**2))


def shape_of(described: Mapping[str, Any]) -> ModelShape | None:
    """The shape that a `config.json` describes; None for families whose layers are not known here.

    Fields that it leaves to transformers' defaults are taken from there, which imports transformers. Raises
    `ConfigError` for a configuration that transformers does not take.
    """
    family = str(described.get("model_type", ""))
    if family not in FAMILIES:
        return None
    try:
        return _read(family, described)
    except KeyError:
        from models.rehearsal.architecture import read_config

        return _read(family, read_config(dict(described), family).to_dict())


def _read(family: str, described: Mapping[str, Any]) -> ModelShape:
    text: Mapping[str, Any] = described["text_config"]
    tied = bool(described["tie_word_embeddings"])
    return ModelShape(family, _text(family, text, tied), _vision(family, described["vision_config"]))


def _text(family: str, text: Mapping[str, Any], tied: bool) -> Text:
    heads, layers = text["num_attention_heads"], text["num_hidden_layers"]
    older = family == "qwen2_5_vl"
    head = text["hidden_size"] // heads if older else text["head_dim"]
    linear = list(text["layer_types"]).count("linear_attention") if family == "qwen3_5" else 0
    biased = older or bool(text["attention_bias"])
    return Text(
        hidden=text["hidden_size"],
        intermediate=text["intermediate_size"],
        vocabulary=text["vocab_size"],
        full=layers - linear,
        linear=linear,
        queries=heads * head,
        keys=text["num_key_value_heads"] * head,
        head=head,
        bias=biased,
        output_bias=biased and not older,
        norms=not older,
        gated=family == "qwen3_5",
        tied=tied,
        delta=LinearAttention(
            text["linear_num_key_heads"],
            text["linear_num_value_heads"],
            text["linear_key_head_dim"],
            text["linear_value_head_dim"],
            text["linear_conv_kernel_dim"],
        )
        if linear
        else None,
    )


def _vision(family: str, vision: Mapping[str, Any]) -> Vision:
    older = family == "qwen2_5_vl"
    return Vision(
        depth=vision["depth"],
        hidden=vision["hidden_size"],
        intermediate=vision["intermediate_size"],
        out=vision["out_hidden_size"],
        patch=vision["patch_size"],
        frames=vision["temporal_patch_size"],
        merge=vision["spatial_merge_size"],
        channels=vision["in_channels"],
        positions=0 if older else vision["num_position_embeddings"],
        deepstack=len(vision["deepstack_visual_indexes"]) if family == "qwen3_vl" else 0,
        gated=older,
    )
