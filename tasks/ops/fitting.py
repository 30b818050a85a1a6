"""Whether stages fit the devices here, asked before any work; and what to change where they do not.

Estimates are off by less than `FACTOR` either way (tests/models/sizing/test_memory.py). A stage is refused only if it
would not fit even where all but its weights, gradients and optimizer states is overestimated by that factor; what may
fit is let through, and `thinkreward doctor` reports that it is tight.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd
from operator import attrgetter
from typing import Any, Literal

from configs.schema import Lora, Section, Settings
from models.errors import ConfigError
from models.sizing.shape import ModelShape
from tasks.ops.base_shape import base_shape
from tasks.ops.devices import Device, devices_for
from tasks.ops.stage_memory import Part, parts
from tasks.pipeline.graph import STAGES

FACTOR = 1.5
GIB = 2**30
LORA_RANK = 64
LEAST_TOKENS = 1024
WITH_MODELS = ("cold-start", "rejection-sampling", "grpo", "evaluate")
Fit = Literal["yes", "tight", "no"]


@dataclass(frozen=True)
class Change:
    """One setting and the value to give it."""

    path: str
    value: Any

    def __str__(self) -> str:
        """As `--set` takes it."""
        return f"{self.path}={json.dumps(self.value)}"


def fits(part: Part, device: Device) -> Fit:
    """Whether a part fits: `tight` where it does by the estimate's own uncertainty alone."""
    if part.memory.total <= device.total:
        return "yes"
    return "tight" if part.memory.least(FACTOR) <= device.total else "no"


def check_stages_fit(
    settings: Settings, names: Iterable[str], *, again: Iterable[str] = (), pins: Mapping[str, str] | None = None
) -> None:
    """`check_fits` for stages that are to run here, `again` though they are cached.

    A stage that a model is pinned for passes: its size is that model's, not the base's.
    """
    from tasks.pipeline.plan import Planner
    from tasks.pipeline.run import open_store

    refreshed, pinned = set(again), pins or {}
    planner = Planner(open_store(settings), settings)
    chosen = [
        name
        for name in names
        if not any(need.output == "model" and at in pinned for at, need in STAGES[name].inputs.items())
    ]
    check_fits(
        settings,
        chosen,
        cached=lambda name: name not in refreshed and planner.plan(name).cached,
    )


def check_fits(settings: Settings, names: Iterable[str], *, cached: Callable[[str], bool] = lambda name: False) -> None:
    """Before any work of these stages. Raises `ConfigError` if some cannot fit the devices here, with what to change.

    `cached` answers for a stage that is too large whether its kept result would be used. A base whose shape is unknown
    here passes, since nothing is known of it yet.
    """
    chosen = [name for name in names if name in WITH_MODELS]
    if not chosen or (shape := base_shape(settings)) is None or not (found := devices_for(settings)):
        return
    smallest = min(found, key=lambda one: one.total)
    large = [one for one in parts(settings, shape, device=smallest.kind) if fits(one, smallest) == "no"]
    refused = [one for one in large if one.stage in chosen and not cached(one.stage)]
    if refused:
        raise ConfigError("\n".join(refusal(settings, shape, one, smallest) for one in refused))


def refusal(settings: Settings, shape: ModelShape, part: Part, device: Device) -> str:
    """Why a part cannot run here, and what to change."""
    name = part.stage if part.name == part.stage else f"{part.stage} ({part.name})"
    inputs = f"{name} needs about {part.memory.total / GIB:.1f} GiB while {part.doing} ({itemised(part)})"
    return f"{inputs}, and {seen(settings, device)}: {cure(settings, shape, part, device)}"


def seen(settings: Settings, device: Device) -> str:
    """What there is of a device's memory, in words."""
    text = f"{device.name} has {device.total / GIB:.1f} GiB"
    if device.kind == "cpu" and settings.runtime.processes > 1:
        text += f" for each of {settings.runtime.processes} processes"
    if device.kind == "cpu" and settings.runtime.device == "auto":
        text += " (no GPU is seen here)"
    return text


def cure(settings: Settings, shape: ModelShape, part: Part, device: Device) -> str:
    """What to do for a part to fit, in words."""
    if changes := remedies(settings, shape, part, device):
        return f"set {' and '.join(map(str, changes))}"
    return "no setting makes it fit: choose a smaller model.base, or a device with more memory"


def itemised(part: Part) -> str:
    """What a part's memory goes to in GiB, the largest first, without what comes to next to nothing."""
    items = sorted(vars(part.memory).items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {size / GIB:.1f}" for name, size in items if size >= GIB / 20)


def remedies(settings: Settings, shape: ModelShape, part: Part, device: Device) -> list[Change]:
    """Changes with which a part fits by the estimate, as few and as small as do; empty if none are enough."""
    ladders = list(_ladders(settings, part))
    at = [-1] * len(ladders)

    def taken() -> list[Change]:
        return [one for ladder, rung in zip(ladders, at, strict=True) if rung >= 0 for one in ladder[rung]]

    def fit() -> bool:
        changed = settings
        for one in taken():
            changed = with_value(changed, one.path, one.value)
        again = next(one for one in parts(changed, shape, device=device.kind) if one.name == part.name)
        return again.memory.total <= device.total

    def climb(number: int, rungs: Iterable[int]) -> bool:
        for rung in rungs:
            at[number] = rung
            if fit():
                return True
        return False

    for number, ladder in enumerate(ladders):
        if climb(number, range(len(ladder))):
            for other in range(number):  # what was taken before may be more than it takes now
                climb(other, range(-1, at[other] + 1))
            return taken()
    return []


def _ladders(settings: Settings, part: Part) -> Iterator[list[list[Change]]]:
    """For each setting that lowers a part's memory its lower values in turn; the least invasive setting first."""
    runtime, section = settings.runtime, part.section
    limit = "micro_tokens" if part.moment == "training" else "generation_tokens"
    if bound := getattr(runtime, limit):
        yield [[Change(f"runtime.{limit}", one)] for one in _smaller(bound, LEAST_TOKENS)]
    if section:
        if not runtime.gradient_checkpointing:
            yield [[Change("runtime.gradient_checkpointing", True)]]
        tuned = attrgetter(section)(settings)
        unit, batch = (settings.grpo.group, _step(settings)) if part.name == "grpo" else (1, tuned.batch)
        smaller = [one for one in _smaller(tuned.micro_batch, unit) if not batch % (one * runtime.processes)]
        yield [[Change(f"{section}.micro_batch", one)] for one in smaller]
    if part.name not in ("cold-start", "sampling-sft"):
        least = settings.rejection_sampling.samples if part.name == "sampling" else 1
        yield [[Change("runtime.generation_batch", one)] for one in _smaller(runtime.generation_batch, least)]
    if part.name == "grpo":
        yield [_prompts(settings, one) for one in _smaller(settings.grpo.prompts_per_step, runtime.processes)]
    if section and attrgetter(section)(settings).lora is None:
        yield [[Change(f"{section}.lora.rank", LORA_RANK)]]
    yield [[Change("model.max_frames", one)] for one in _smaller(settings.model.max_frames, 2)]


def _step(settings: Settings) -> int:
    return settings.grpo.group * settings.grpo.prompts_per_step


def _prompts(settings: Settings, count: int) -> list[Change]:
    """Fewer prompts a step, and a micro-batch that divides them."""
    g, changes = settings.grpo, [Change("grpo.prompts_per_step", count)]
    each = gcd(count // settings.runtime.processes, g.micro_batch // g.group)
    if g.group * each != g.micro_batch:
        changes.append(Change("grpo.micro_batch", g.group * each))
    return changes


def _smaller(now: int, least: int) -> Iterator[int]:
    """Halves of a number, down to `least`.

    >>> list(_smaller(12, 2)), list(_smaller(8, 8))
    ([6, 3], [])
    """
    while now // 2 >= least:
        now //= 2
        yield now


def with_value(section: Section, path: str, value: Any) -> Any:
    """The settings with another value at a dotted path; a section that is unset begins with its defaults."""
    name, _, rest = path.partition(".")
    if rest:
        value = with_value(getattr(section, name) or Lora(**{rest: value}), rest, value)
    return section.model_copy(update={name: value})
