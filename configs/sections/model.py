"""The base model, and adapters on it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from configs.sections.base import Fraction, Section


class Model(Section):
    """The base model and what it is shown.

    Which base it is enters the key of the stage that publishes it; all others have its digest among their inputs.
    """

    RESULT_NEUTRAL = frozenset({"base", "revision"})
    base: str = Field(
        "models/shapes/base", min_length=1, description="model directory, relative to the repository, or hub id"
    )
    revision: str | None = Field(None, description="hub revision of the base (a commit, for reproducible runs)")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="compute type: frozen weights are kept and training is autocast in it, while trained weights are "
        "float32; float16 is for inference alone",
    )
    publish_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="type that a training stage's model is saved in, rounded once at its end"
    )
    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field("sdpa", description="attention implementation")
    max_pixels: int = Field(
        147_456, ge=1024, description="pixels an image or frame is reduced to at most (paper: 147456)"
    )
    max_frames: int = Field(8, ge=1, le=256, description="frames a video is sampled to at most (paper: 8)")

    @model_validator(mode="after")
    def _flash_attention_fits_dtype(self) -> Self:
        if self.attention == "flash_attention_2" and self.dtype == "float32":
            raise ValueError(
                "attention is flash_attention_2, which has no float32 kernels, but dtype is float32: "
                "set model.dtype=bfloat16, or model.attention=sdpa"
            )
        return self


class Lora(Section):
    """Low-rank adapters; the adapter is merged into the weights when the stage publishes its model."""

    rank: int = Field(64, ge=1, le=1024, description="adapter rank")
    alpha: int = Field(128, ge=1, description="adapter scale numerator")
    dropout: Fraction = Field(0.05, description="adapter dropout")
