"""Every setting of the recipe, typed, bounded and described with its unit: `Settings`, out of `configs/sections`.

A profile (`configs/<name>.yaml`) states only what differs from the defaults here. Contradictions are
refused when the settings are loaded, before anything runs: within a section by the section, between sections by
`Settings`. Each section's `RESULT_NEUTRAL` names the fields that never enter a stage's key; all others do.
"""

from typing import Self

from pydantic import Field, model_validator

from configs.sections.base import Section
from configs.sections.data import BenchmarkData, Prepare, PublishedSource
from configs.sections.distributed import Distributed
from configs.sections.evaluation import Evaluate, Promote
from configs.sections.machine import Nightly, Runtime, Serve
from configs.sections.model import Lora, Model
from configs.sections.places import Storage, Tracking
from configs.sections.teacher import Distill, EmbeddedTeacher
from configs.sections.training import Grpo, RejectionSampling, Rewards, Sft

__all__ = [
    "BenchmarkData",
    "Distill",
    "Distributed",
    "EmbeddedTeacher",
    "Evaluate",
    "Grpo",
    "Lora",
    "Model",
    "Nightly",
    "Prepare",
    "Promote",
    "PublishedSource",
    "RejectionSampling",
    "Rewards",
    "Runtime",
    "Section",
    "Serve",
    "Settings",
    "Sft",
    "Storage",
    "Tracking",
]


class Settings(Section):
    """One profile, complete."""

    RESULT_NEUTRAL = frozenset({"profile", "storage", "tracking", "runtime", "nightly", "serve"})
    profile: str = Field("shapes", min_length=1, description="the profile's name")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of all that is random")
    storage: Storage = Field(default_factory=Storage, description="where artifacts live")
    tracking: Tracking = Field(
        default_factory=Tracking, description="where runs and registered models are recorded (MLflow)"
    )
    runtime: Runtime = Field(default_factory=Runtime, description="how stages use this machine")
    model: Model = Field(default_factory=Model, description="the base model and what it is shown")
    prepare: Prepare = Field(default_factory=Prepare, description="the preference data of all four tasks")
    distill: Distill = Field(default_factory=Distill, description="reasoning asked from a teacher")
    cold_start: Sft = Field(default_factory=Sft, description="fine-tuning of the base on the distilled reasoning")
    rejection_sampling: RejectionSampling = Field(
        default_factory=RejectionSampling, description="sampling on all four tasks and fine-tuning on what is right"
    )
    grpo: Grpo = Field(default_factory=Grpo, description="policy optimisation on what is still wrong")
    evaluate: Evaluate = Field(default_factory=Evaluate, description="judging the held-out pairs")
    promote: Promote = Field(default_factory=Promote, description="the gate before the alias champion moves")
    nightly: Nightly = Field(default_factory=Nightly, description="scheduled retraining on what came into the inbox")
    serve: Serve = Field(default_factory=Serve, description="the judge service")

    @property
    def oracle(self) -> str:
        """`evaluate.oracle`, with what `auto` comes to."""
        if self.evaluate.oracle != "auto":
            return self.evaluate.oracle
        return "embedded" if self.distill.teacher == "embedded" else "none"

    @model_validator(mode="after")
    def _teacher_knows_the_source(self) -> Self:
        if self.prepare.source != "shapes" and self.distill.teacher == "embedded":
            raise ValueError(
                f"prepare.source is {self.prepare.source} but distill.teacher is embedded, which knows the shapes "
                "world alone: set distill.teacher=openai and distill.model"
            )
        if self.prepare.source != "shapes" and self.evaluate.oracle == "embedded":
            raise ValueError(
                f"prepare.source is {self.prepare.source} but evaluate.oracle is embedded, which knows the shapes "
                "world alone: set evaluate.oracle=none, or to endpoint:MODEL"
            )
        if self.prepare.source != "published" and self.distill.teacher == "published":
            raise ValueError(
                f"distill.teacher is published but prepare.source is {self.prepare.source}, which comes without "
                "reasoning: set prepare.source=published and prepare.sources, or another teacher"
            )
        return self

    @model_validator(mode="after")
    def _batches_divide_among_processes(self) -> Self:
        optimised = self.grpo.group * self.grpo.prompts_per_step
        sampled = self.rejection_sampling.sft
        for name, batch, micro, unit in (
            ("cold_start", self.cold_start.batch, self.cold_start.micro_batch, 1),
            ("rejection_sampling.sft", sampled.batch, sampled.micro_batch, 1),
            ("grpo", optimised, self.grpo.micro_batch, self.grpo.group),
        ):
            processes = self.runtime.processes
            if batch % (processes * micro):
                fitting = [n for n in range(unit, micro + 1, unit) if not batch % (processes * n)]
                raise ValueError(
                    f"{name} takes {batch} completions a step, which {processes} processes (runtime.distributed) x "
                    f"micro_batch {micro} do not divide: "
                    + (
                        f"set {name}.micro_batch={fitting[-1]}"
                        if fitting
                        else f"choose a number of processes that divides {batch // unit}"
                    )
                )
        return self
