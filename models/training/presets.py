"""The objectives of GRPO by name: TRL's flags, the gate of the rewards, and where each comes from.

A preset's clips bind only where the model has moved since it sampled: with one optimizer step a generation every ratio
is 1, and the presets differ in how they scale, weigh and mask. `gspo` and `cispo` take several steps a generation, as
their papers do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from configs.sections.training import STEPS_A_GENERATION, Grpo


@dataclass(frozen=True)
class Preset:
    """`flags` of `trl.GRPOConfig`; `sources` are arXiv numbers; `updates` are optimizer steps a generation."""

    sources: tuple[str, ...]
    flags: Mapping[str, Any]
    accuracy_needs_format: bool
    updates: int = 1


_PLAIN: dict[str, Any] = {
    "beta": 0.0,
    "use_bias_correction_kl": False,  # with a beta it is GRPO's own KL term, unlike TRL's default now
    "epsilon": 0.2,
    "epsilon_high": 0.2,
    "mask_truncated_completions": False,
    "importance_sampling_level": "token",
}

PRESETS: dict[str, Preset] = {
    # UnifiedReward-Think, section 3.4, on GRPO (2402.03300).
    "paper": Preset(
        ("2505.03318", "2402.03300"),
        {**_PLAIN, "loss_type": "grpo", "scale_rewards": "group", "beta": 0.04},
        accuracy_needs_format=False,
    ),
    # DAPO; the batch's spread from 2508.08221; the gate is ours.
    "modern": Preset(
        ("2503.14476", "2508.08221"),
        {
            **_PLAIN,
            "loss_type": "dapo",
            "scale_rewards": "batch",
            "epsilon_high": 0.28,
            "mask_truncated_completions": True,
        },
        accuracy_needs_format=True,
    ),
    # Section 5.1: the clips, and four mini-batches a rollout.
    "gspo": Preset(
        ("2507.18071",),
        {
            **_PLAIN,
            "loss_type": "grpo",
            "scale_rewards": "group",
            "epsilon": 3e-4,
            "epsilon_high": 4e-4,
            "importance_sampling_level": "sequence",
        },
        accuracy_needs_format=True,
        updates=STEPS_A_GENERATION["gspo"],
    ),
    "dr_grpo": Preset(
        ("2503.20783",),
        {**_PLAIN, "loss_type": "dr_grpo", "scale_rewards": "none"},
        accuracy_needs_format=True,
    ),
    # MiniMax-M1: no lower bound. For this loss TRL takes `epsilon_high` as the ratio's bound itself: 5, of ScaleRL.
    "cispo": Preset(
        ("2506.13585", "2510.13786"),
        {**_PLAIN, "loss_type": "cispo", "scale_rewards": "group", "epsilon_high": 5.0},
        accuracy_needs_format=True,
        updates=STEPS_A_GENERATION["cispo"],
    ),
}


def flags(grpo: Grpo) -> dict[str, Any]:
    """What a preset hands to TRL, with the settings that were made over it.

    >>> flags(Grpo())["beta"], flags(Grpo(beta=0.0))["beta"]
    (0.04, 0.0)
    """
    return {**PRESETS[grpo.preset].flags, **({} if grpo.beta is None else {"beta": grpo.beta})}


def needs_format(preset: str, said: bool | None) -> bool:
    """Whether accuracy is gated on format: as was said, or as the preset has it.

    >>> needs_format("paper", None), needs_format("modern", None), needs_format("modern", False)
    (False, True, False)
    """
    return PRESETS[preset].accuracy_needs_format if said is None else said


def preset_table(max_tokens: int) -> str:
    """The presets as a Markdown table; `max_tokens` is the default of `grpo.max_tokens`, which no preset changes."""
    heading = ("", *(f"`{name}`" for name in PRESETS))
    rows = [heading, ("---",) * len(heading), *_rows(max_tokens)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _rows(max_tokens: int) -> list[tuple[str, ...]]:
    def flag(name: str) -> list[str]:
        return [str(preset.flags[name]) for preset in PRESETS.values()]

    def yes(values: list[bool]) -> list[str]:
        return ["yes" if value else "no" for value in values]

    each = PRESETS.values()
    unbounded = ["none" if one.flags["loss_type"] == "cispo" else f"1 - {one.flags['epsilon']:g}" for one in each]
    upper = [
        f"{one.flags['epsilon_high']:g}" if one.flags["loss_type"] == "cispo" else f"1 + {one.flags['epsilon_high']:g}"
        for one in each
    ]
    masked = [bool(one.flags["mask_truncated_completions"]) for one in each]
    return [
        ("source (arXiv)", *(", ".join(one.sources) for one in each)),
        ("`loss_type`", *flag("loss_type")),
        ("advantage scaled by (`scale_rewards`)", *flag("scale_rewards")),
        ("KL to the start (`beta`)", *flag("beta")),
        ("ratio clipped below at", *unbounded),
        ("ratio clipped above at", *upper),
        ("ratio of a (`importance_sampling_level`)", *flag("importance_sampling_level")),
        ("optimizer steps a generation", *(str(one.updates) for one in each)),
        ("truncated completions masked", *yes(masked)),
        ("accuracy needs format", *yes([one.accuracy_needs_format for one in each])),
        ("`grpo.max_tokens` unless set", *(str(max_tokens) for _ in each)),
    ]


NOT_SHARDED = (
    "runtime.distributed.strategy={0} is for fine-tuning: while policy optimisation samples, each process needs the "
    "whole model; set strategy=ddp for grpo, with adapters (grpo.lora) where a copy with its optimizer does not fit"
)
