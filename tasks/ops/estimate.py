"""What a run would take, from the settings, the pairs that are there and the devices here."""

from dataclasses import dataclass
from math import ceil

from configs.schema import Settings, Sft
from models.generation.limits import CHARACTERS_PER_TOKEN
from models.pairs.preference import Task
from models.verdict.instructions import instructions
from tasks.ops.base_shape import base_shape
from tasks.ops.counting import ORDERS, StageWork, There, pairs_there, work_of
from tasks.ops.devices import devices_for
from tasks.ops.fitting import GIB, LORA_RANK, cure, fits, itemised, seen, with_value
from tasks.ops.stage_memory import CAPTION_TOKENS, StagePart, bounds, parts
from tasks.pipeline.graph import find_base

PIXELS_PER_TOKEN = 28 * 28  # Qwen2.5-VL: a merged patch (arXiv 2502.13923, section 2.1)
TRAINING_STATE = 3  # a checkpoint holds the weights and Adam's two moments
SHARDS = 8  # of the strategy that divides training among GPUs
MODES, MODELS = 2, 4  # that evaluate judges in, and judges
TRAINING = ("cold_start", "rejection_sampling.sft", "grpo")
WORDS = {"yes": "fits", "tight": "tight", "no": "does not fit"}


@dataclass(frozen=True)
class Quantity:
    """One quantity, its amount with unit, and how it was counted."""

    what: str
    amount: str
    how: str


def estimate_run(settings: Settings) -> list[Quantity]:
    """Pairs, teacher calls, tokens and dollars; samples; optimizer steps; memory by stage and strategy; disk."""
    found = pairs_there(settings)
    work = work_of(settings, found if isinstance(found, There) else None)
    return [
        _pairs(found),
        *_media(settings),
        *_teacher(settings, work),
        *_samples(settings, work),
        *_steps(settings, work),
        *_memory(settings),
        *_disk(settings),
    ]


def _pairs(found: There | str) -> Quantity:
    if isinstance(found, str):
        return Quantity("pairs", "unknown", f"{found}; what follows are the settings' ceilings")
    splits = (("train", found.train), ("validation", found.validation), ("held-out", found.held_out))
    counts = ", ".join(f"{sum(by_task.values()):,} {name}" for name, by_task in splits)
    return Quantity("pairs", f"{found.total:,}", f"{found.how}: about {counts}")


def _media(settings: Settings) -> list[Quantity]:
    """The caps on what a judge is shown, and about how many tokens that makes."""
    m = settings.model
    image = ceil(m.max_pixels / PIXELS_PER_TOKEN)
    return [
        Quantity("pixels an image", f"{m.max_pixels:,} at most", f"model.max_pixels; about {image:,} tokens"),
        Quantity(
            "frames a video", f"{m.max_frames} at most", f"model.max_frames; about {m.max_frames * image:,} tokens"
        ),
    ]


def _teacher(settings: Settings, work: StageWork) -> list[Quantity]:
    d, m = settings.distill, settings.model
    if d.teacher == "published":
        return [
            Quantity("teacher calls", "none", "distill.teacher=published takes the reasoning that comes with the pairs")
        ]
    asked = sum(work.asked.values())
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
        Quantity(
            "teacher calls",
            f"{min(asked, calls):,} to {calls:,}",
            "distill.pairs and other_pairs of the pairs that are there, with every re-ask at most",
        ),
        Quantity(
            "teacher tokens", f"{calls * prompt:,} in, {calls * d.max_tokens:,} out at most", f"{prompt} a prompt"
        ),
        Quantity("teacher cost", price, f"distill.max_cost_usd stops at ${d.max_cost_usd:,.2f}"),
    ]


def _samples(settings: Settings, work: StageWork) -> list[Quantity]:
    r, g = settings.rejection_sampling, settings.grpo
    pairs = sum(work.sampled.values())
    rounds = 1 + int(grpo_steps(settings, work) // g.validate_every)
    judged = work.judged * ORDERS * MODES * MODELS
    return [
        Quantity(
            "samples",
            f"{pairs * ORDERS * r.samples:,}",
            f"{pairs:,} pairs x {ORDERS} orders x {r.samples}; {r.max_tokens} tokens at most",
        ),
        Quantity(
            "grpo rollouts",
            f"{round(work.optimised * ORDERS * g.group * g.epochs):,}",
            f"{work.optimised:,} pairs x {ORDERS} orders x group of {g.group}",
        ),
        Quantity(
            "grpo validation",
            f"{work.validating * ORDERS * rounds:,} judgments at most",
            f"{work.validating:,} pairs x {ORDERS} orders x {rounds}",
        ),
        Quantity(
            "judgments",
            f"{judged:,}",
            f"{work.judged:,} held-out pairs x {ORDERS} orders x {MODES} modes x {MODELS} models",
        ),
    ]


def _steps(settings: Settings, work: StageWork) -> list[Quantity]:
    r, g = settings.rejection_sampling, settings.grpo
    cold = sft_steps(settings.cold_start, sum(work.asked.values()), work)
    kept = sft_steps(r.sft, sum(work.kept.values()), work)
    steps = grpo_steps(settings, work)
    return [
        Quantity("cold-start steps", f"{ceil(cold):,} at most", f"all answers kept, batch {settings.cold_start.batch}"),
        Quantity("sampling SFT steps", f"{ceil(kept):,} at most", f"all pairs kept, batch {r.sft.batch}"),
        Quantity("grpo steps", f"{ceil(steps):,} at most", f"{g.prompts_per_step} prompts a step"),
    ]


def sft_steps(sft: Sft, reasoning: int, work: StageWork) -> float:
    """Optimizer steps of a fine-tuning on so many reasoned answers."""
    return ceil((reasoning + work.direct(sft)) / sft.batch) * sft.epochs


def grpo_steps(settings: Settings, work: StageWork) -> float:
    """Optimizer steps of the policy optimisation."""
    g = settings.grpo
    return ceil(work.optimised * ORDERS / g.prompts_per_step) * g.epochs * g.generation_passes


def _memory(settings: Settings) -> list[Quantity]:
    """Each part's memory on one device of those here, and that of the trained ones by strategy."""
    shape = base_shape(settings)
    if shape is None:
        why = f"no config.json of {settings.model.base} is here, or its family is none that is estimated"
        return [Quantity("memory", "unknown", why)]
    found = devices_for(settings)
    device = min(found, key=lambda one: one.total) if found else None
    kind = device.kind if device else "cuda"
    how = "limits a device, by runtime: of training, and of sampling, judging and rollouts"
    rows = [Quantity("tokens at once", bounds(settings), how)]
    for part in parts(settings, shape, device=kind):
        amount, how = f"{part.memory.total / GIB:.1f} GiB", f"while {part.doing}: {itemised(part)}"
        if device:
            fit = fits(part, device)
            amount += f": {WORDS[fit]}"
            how += f"; {seen(settings, device)}" + (f": {cure(settings, shape, part, device)}" if fit != "yes" else "")
        rows.append(Quantity(f"memory, {part.name}", amount, how))
    for name, changed, shards in strategies(settings):
        of = [one for one in parts(changed, shape, device=kind, shards=shards) if trains(one)]
        counts = ", ".join(f"{one.name} {one.memory.total / GIB:.1f}" for one in of)
        rows.append(Quantity(f"memory, {name}", f"{counts} GiB", "a device, whatever the settings of lora are"))
    return rows


def trains(part: StagePart) -> bool:
    """Whether it is a part that trains."""
    return part.section is not None


def strategies(settings: Settings) -> list[tuple[str, Settings, int]]:
    """Ways to train: their names, these settings trained so, and the number of devices the states are divided among."""
    adapted = full = settings
    for section in TRAINING:
        adapted = with_value(adapted, f"{section}.lora.rank", LORA_RANK)
        full = with_value(full, f"{section}.lora", None)
    return [
        (f"LoRA of rank {LORA_RANK}", adapted, 1),
        ("full", full, 1),
        (f"full, sharded over {SHARDS}", full, SHARDS),
    ]


def _disk(settings: Settings) -> list[Quantity]:
    folder = find_base(settings)
    if folder is None:
        return [
            Quantity(
                "disk", "unknown", f"{settings.model.base} is not here yet; about 5 model sizes and its checkpoints"
            )
        ]
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**30
    kept = settings.runtime.checkpoints_kept * TRAINING_STATE
    return [
        Quantity(
            "disk",
            f"{weights * (5 + kept):.2f} GiB",
            f"{weights:.2f} GiB of weights x (5 models + {kept} while training)",
        )
    ]
