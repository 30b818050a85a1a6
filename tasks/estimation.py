"""What a run would take, from the settings alone: upper bounds, said with how they come about."""

from dataclasses import dataclass
from math import ceil

from configs.schema import Settings, Sft
from models.preference import Task
from models.verdict import instructions
from tasks.graph import find_base

CHARACTERS_PER_TOKEN = 4  # https://platform.openai.com/tokenizer
PIXELS_PER_TOKEN = 28 * 28  # Qwen2.5-VL: a merged patch (arXiv 2502.13923, section 2.1)
CAPTION_TOKENS = 60
TRAINING_STATE = 3  # a checkpoint holds the weights and Adam's two moments


@dataclass(frozen=True)
class Row:
    """One quantity, its amount with unit, and how it was counted."""

    what: str
    amount: str
    how: str


def estimate_run(settings: Settings) -> list[Row]:
    """Teacher calls, tokens and dollars; samples; optimizer steps; disk."""
    return [*_media(settings), *_teacher(settings), *_samples(settings), *_steps(settings), *_disk(settings)]


def _media(settings: Settings) -> list[Row]:
    """The caps on what a judge is shown, and about how many tokens that makes."""
    m = settings.model
    image = ceil(m.max_pixels / PIXELS_PER_TOKEN)
    return [
        Row("pixels an image", f"{m.max_pixels:,} at most", f"model.max_pixels; about {image:,} tokens"),
        Row("frames a video", f"{m.max_frames} at most", f"model.max_frames; about {m.max_frames * image:,} tokens"),
    ]


def _teacher(settings: Settings) -> list[Row]:
    d, m = settings.distill, settings.model
    if d.teacher == "published":
        return [Row("teacher calls", "none", "distill.teacher=published takes the reasoning that comes with the pairs")]
    asked = asked_pairs(settings)
    calls = min(asked * (1 + d.max_reasks), d.max_requests)
    prompt = len(instructions(Task.IMAGE_GENERATION, "think")) // CHARACTERS_PER_TOKEN + CAPTION_TOKENS
    prompt += 2 * ceil(m.max_pixels / PIXELS_PER_TOKEN)
    dollars = calls * (prompt * d.usd_per_million_input + d.max_tokens * d.usd_per_million_output) / 1e6
    price = (
        "nothing: the embedded teacher is local"
        if d.teacher == "embedded"
        else f"at most ${min(dollars, d.max_cost_usd):,.2f}"
    )
    return [
        Row(
            "teacher calls",
            f"{min(asked, calls):,} to {calls:,}",
            "distill.pairs and other_pairs, with every re-ask at most",
        ),
        Row("teacher tokens", f"{calls * prompt:,} in, {calls * d.max_tokens:,} out at most", f"{prompt} a prompt"),
        Row("teacher cost", price, f"distill.max_cost_usd stops at ${d.max_cost_usd:,.2f}"),
    ]


def asked_pairs(settings: Settings) -> int:
    """Pairs that the teacher is asked about."""
    return settings.distill.pairs + (len(Task) - 1) * settings.distill.other_pairs


def _samples(settings: Settings) -> list[Row]:
    r, e, g = settings.rejection_sampling, settings.evaluate, settings.grpo
    sampled = r.pairs * len(Task) * 2 * r.samples
    judged = (e.pairs or settings.prepare.held_out_pairs) * len(Task) * 2 * 2 * 4
    rollouts = g.pairs * 2 * g.group
    rounds = 1 + int(ceil(g.pairs * 2 / g.prompts_per_step) * g.epochs // g.validate_every)
    validated = g.validation_pairs * 2 * rounds
    return [
        Row(
            "samples",
            f"{sampled:,}",
            f"{r.pairs} pairs x 4 tasks x 2 orders x {r.samples}; {r.max_tokens} tokens at most",
        ),
        Row("grpo rollouts", f"{round(rollouts * g.epochs):,}", f"{g.pairs} pairs x 2 orders x group of {g.group}"),
        Row(
            "grpo validation",
            f"{validated:,} judgments at most",
            f"{g.validation_pairs} pairs x 2 orders x {rounds}",
        ),
        Row("judgments", f"{judged:,}", "held-out pairs x 2 orders x 2 modes x 4 models"),
    ]


def _steps(settings: Settings) -> list[Row]:
    r, g = settings.rejection_sampling, settings.grpo
    cold = sft_steps(settings.cold_start, asked_pairs(settings))
    kept = sft_steps(r.sft, r.pairs * len(Task) * r.keep_per_pair)
    steps = ceil(g.pairs * 2 / g.prompts_per_step) * g.epochs
    return [
        Row("cold-start steps", f"{ceil(cold):,} at most", f"all answers kept, batch {settings.cold_start.batch}"),
        Row("sampling SFT steps", f"{ceil(kept):,} at most", f"all pairs kept, batch {r.sft.batch}"),
        Row("grpo steps", f"{ceil(steps):,} at most", f"{g.prompts_per_step} prompts a step"),
    ]


def sft_steps(sft: Sft, reasoning: int) -> float:
    """Optimizer steps of a fine-tuning on so many reasoned answers."""
    return ceil((reasoning + len(Task) * sft.direct_pairs) / sft.batch) * sft.epochs


def _disk(settings: Settings) -> list[Row]:
    folder = find_base(settings)
    if folder is None:
        return [
            Row("disk", "unknown", f"{settings.model.base} is not here yet; about 5 model sizes and its checkpoints")
        ]
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**30
    kept = settings.runtime.checkpoints_kept * TRAINING_STATE
    return [
        Row(
            "disk",
            f"{weights * (5 + kept):.2f} GiB",
            f"{weights:.2f} GiB of weights x (5 models + {kept} while training)",
        )
    ]
