"""A rehearsal of a profile: each stage for two steps or a batch, on a random model of the profile's architecture.

Nothing is downloaded and nothing is kept: model, pairs and checkpoints are in a temporary folder that is removed.
"""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

from configs.schema import Distributed, Settings, Sft
from models.errors import OutOfMemory, ThinkrewardError
from tasks.ops.counting import ORDERS, StageWork, There, pairs_there, work_of
from tasks.ops.estimate import MODELS, grpo_steps, sft_steps
from tasks.pipeline.child import Job
from tasks.pipeline.launch import run_child

ACCUMULATED = 2  # micro-batches of a rehearsed step at most: those after the second repeat it
REDUCED_TOKENS, REDUCED_SEQUENCES = 64, 8  # of a completion, and generated together, where the model is reduced


@dataclass(frozen=True)
class Rehearsed:
    """One stage's figures; those that were not measured are None, and `note` is the reason.

    `seconds_per_step` is of the step that was rehearsed, `hours` of the whole run by the profile's counts.
    """

    stage: str
    peak_memory_gib: float | None
    tokens_per_second: float | None
    seconds_per_step: float | None
    hours: float | None
    note: str


@dataclass(frozen=True)
class Rehearsal:
    """All stages on one device; `summary` is what was rehearsed, in a sentence."""

    profile: str
    reduced: bool
    device: str
    summary: str
    stages: list[Rehearsed]

    def as_json(self) -> dict[str, Any]:
        """As `thinkreward rehearse --json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class Repeated:
    """A stage to rehearse: its name in the table, its body, the stage it belongs to, and how often it repeats.

    `times` is how many rehearsed steps or batches the whole run has; `what` names one.
    """

    name: str
    body: str
    stage: str
    times: float
    what: str


def rehearse(settings: Settings, log: Callable[[str], None] = lambda line: None) -> Rehearsal:
    """Rehearse every stage; one that fails or does not fit is a row with the reason.

    Raises `ConfigError` for a base whose shape or processor is not to be had.
    """
    with _temporary_folder() as folder:
        log("building a random model")
        built = _run(settings, "build", "base", folder)
        smaller = bool(built["reduced"])
        scaled = scaled_down(settings, smaller)
        found = pairs_there(settings)
        work = work_of(settings, found if isinstance(found, There) else None)
        rows = []
        for part in repeated(settings, scaled, work):
            log(part.name)
            rows.append(_row(scaled, part, folder))
    return Rehearsal(settings.profile, smaller, built["device"], _says(built), rows)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder in which child processes put their temporary files too, so that a killed one leaves none."""
    before = os.environ.get("TMPDIR")
    with _removed_on_sigterm(), tempfile.TemporaryDirectory(prefix="thinkreward-rehearsal-") as folder:
        os.environ["TMPDIR"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("TMPDIR")
            if before is not None:
                os.environ["TMPDIR"] = before


@contextmanager
def _removed_on_sigterm() -> Iterator[None]:
    """Leave through the `finally` blocks when the process is asked to end, which Python does not do by itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(settings: Settings, body: str, stage: str, folder: Path) -> dict[str, Any]:
    alone = {
        "runtime": settings.runtime.model_copy(update={"distributed": Distributed()}),
        "storage": settings.storage.model_copy(update={"cache_dir": str(folder / "cache")}),  # where the log goes
    }
    job = Job(
        stage=stage,
        key=str(folder),
        body=f"tasks.ops.rehearsal_stages:{body}",
        settings=settings.model_copy(update=alone),
        inputs={},
    )
    limit = settings.runtime.stage_timeout_s
    done = run_child(job, timeout_s=limit, watch_progress=lambda *_: None, log=lambda _: None)
    return done.facts


def _row(settings: Settings, part: Repeated, folder: Path) -> Rehearsed:
    try:
        facts = _run(settings, part.body, part.stage, folder)
    except ThinkrewardError as error:
        return Rehearsed(part.name, None, None, None, None, _note(error))
    seconds = float(facts["seconds_per_step"])
    return Rehearsed(
        part.name,
        round(facts["peak_memory_gib"], 2),
        round(facts["tokens_per_second"], 1),
        round(seconds, 2),
        round(seconds * part.times / 3600, 2),
        part.what,
    )


def _note(error: ThinkrewardError) -> str:
    """Why there are no figures; that a stage did not fit is reported only where it is known."""
    what = "did not fit" if isinstance(error, OutOfMemory) else "failed"
    return f"{what}: {str(error).strip().splitlines()[0]}"


def scaled_down(settings: Settings, smaller: bool) -> Settings:
    """The settings of a rehearsal: one process of `runtime.distributed`, few micro-batches, and less if reduced."""
    processes, most = settings.runtime.processes, REDUCED_TOKENS if smaller else 2**31

    def short(section: Any, **changes: Any) -> Any:
        return section.model_copy(update={"max_tokens": min(section.max_tokens, most), **changes})

    def brief(sft: Sft) -> Sft:
        batch = min(sft.batch // processes, ACCUMULATED * sft.micro_batch)
        return sft.model_copy(update={"batch": batch, "epochs": 1.0})

    g, r, runtime = settings.grpo, settings.rejection_sampling, settings.runtime
    step = {"prompts_per_step": 1, "micro_batch": g.group} if smaller else {}
    sequences = min(runtime.generation_batch, REDUCED_SEQUENCES) if smaller else runtime.generation_batch
    return settings.model_copy(
        update={
            "runtime": runtime.model_copy(update={"distributed": Distributed(), "generation_batch": sequences}),
            "distill": short(settings.distill),
            "cold_start": brief(settings.cold_start),
            "rejection_sampling": short(r, sft=brief(r.sft)),
            "grpo": short(g, epochs=1.0, **{"prompts_per_step": g.prompts_per_step // processes, **step}),
            "evaluate": short(settings.evaluate),
        }
    )


def repeated(full: Settings, scaled: Settings, work: StageWork) -> list[Repeated]:
    """Each stage with how many of its rehearsed steps or batches the whole run has, by the pairs that it handles."""
    r, g = full.rejection_sampling, full.grpo
    processes, together = full.runtime.processes, scaled.runtime.generation_batch

    def tuned(sft: Sft, brief: Sft, reasoning: int) -> tuple[float, str]:
        times = sft_steps(sft, reasoning, work) * sft.batch / processes / brief.batch
        return times, f"a step of {brief.batch} completions, {brief.micro_batch} at once, of {sft.batch}"

    steps = grpo_steps(full, work)
    prompts = scaled.grpo.prompts_per_step
    rollouts = steps * g.prompts_per_step / processes / prompts
    samples = sum(work.sampled.values()) * ORDERS * r.samples
    held_out = work.judged * ORDERS * MODELS
    validated = (ceil(steps / g.validate_every) + 1) * work.validating * ORDERS
    at_once = max(1, together // r.samples) * r.samples
    return [
        Repeated(
            "cold-start",
            "cold_start",
            "cold-start",
            *tuned(full.cold_start, scaled.cold_start, sum(work.asked.values())),
        ),
        Repeated("sampling", "sampling", "rejection-sampling", samples / at_once, f"a batch of {at_once} completions"),
        Repeated(
            "sampling-sft",
            "sampling_sft",
            "rejection-sampling",
            *tuned(r.sft, scaled.rejection_sampling.sft, sum(work.kept.values())),
        ),
        Repeated("grpo", "grpo", "grpo", rollouts, f"a step of {prompts} prompts, {g.group} completions each"),
        Repeated(
            "judging",
            "judging",
            "evaluate",
            (held_out + validated) / together,
            f"a batch of {together} completions; hours with GRPO's validations",
        ),
    ]


def _says(built: dict[str, Any]) -> str:
    size = f"{built['layers']} layers, hidden size {built['hidden']}, {built['weights'] / 1e6:,.1f} M weights"
    texts = "" if built["own_processor"] else "; processor: the embedded one, the base's own is not here"
    if not built["reduced"]:
        return f"full size: {built['architecture']}, {size}, random weights, on {built['device']}{texts}"
    return (
        f"REDUCED COPY of {built['architecture']}: {size} instead of {built['full_weights'] / 1e6:,.1f} M, random "
        f"weights, on {built['device']}, completions of {REDUCED_TOKENS} tokens at most: no figure below is the "
        f"profile's own, and what fits a GPU is not known from it{texts}"
    )
