"""The method as a graph: each stage's inputs, the settings that enter its key, and where its work is written.

`METHOD`, at the end, is the paper's method in one expression. `version` is a stage's code version: raise it when a
change alters what the stage computes. That is a person's decision, since no hash of sources knows which change alters a
result; that it was made is checked (tasks/versions/stage_code.py; CONTRIBUTING, "Stage versions").
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from configs.forms import Form
from configs.schema import Section, Settings
from models.generation.protocol import transformers_identity
from models.pairs.preference import Split
from tasks.store.locations import fingerprint, fingerprint_of, model_digest

PREVIOUS = "previous"  # the input of prepare that is the ledger of splits of the version before
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Input:
    """One input of a stage: the output `output` of the stage `stage`."""

    stage: str
    output: str


class Output:
    """An output in the class of a stage: `grpo.model`, of the stage `grpo`, is an input for others."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, stage: "Stage", owner: type) -> Input:
        return Input(stage.name, self._name)


@dataclass(frozen=True)
class Stage:
    """One stage. `body` is the function that computes it in a child process, as `module:name`.

    `sections` are the settings in its key: whole sections, or single fields as `section.field` where the others cannot
    change its result, without the fields in `excludes`. With `generates` the key names what writes its texts, too, and
    with `seeded` the seed. `opens` are the splits of its preferences that the body can read, and no other. `memory`
    names the settings to lower when memory runs out. Inputs that no other stage makes come from the function
    `dynamic_inputs`. What a stage did outside the store may be undone there: the function `is_stale` returns how, in
    words. A stage that is `part_of` another is its first step, with a key, a lease and a process of its own; people see
    the other alone. Calling a stage connects it: `distill(preferences=prepare.preferences)`.
    """

    name: str
    version: str
    _: KW_ONLY
    body: str
    sections: tuple[str, ...]
    excludes: tuple[str, ...] = ()
    opens: tuple[Split, ...] = ()
    memory: str = "model.max_pixels"
    dynamic_inputs: str = ""
    is_stale: str = ""
    part_of: str = ""
    generates: bool = False
    seeded: bool = True
    inputs: Mapping[str, Input] = field(default_factory=dict)

    def __call__(self, **inputs: Input) -> Self:
        """This stage with its inputs, by name: `cold_start=` is the input `cold-start`."""
        return replace(self, inputs={name.replace("_", "-"): source for name, source in inputs.items()})

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of its outputs, which are the kinds of its artifacts."""
        return tuple(name for name, value in vars(type(self)).items() if isinstance(value, Output))

    @property
    def form(self) -> Form:
        """What a person may set when this stage is deployed; where things are kept belongs to its environment."""
        parts = [stage for stage in STAGES.values() if stage.part_of == self.name]
        names = [name.partition(".")[0] for stage in (*parts, self) for name in stage.sections]
        return Form(*(name for name in dict.fromkeys(names) if name != "tracking"), "runtime")

    def config(self, settings: Settings) -> dict[str, object]:
        """The fields that change this stage's result."""
        fields: dict[str, Any] = {"seed": settings.seed} if self.seeded else {}
        for path in self.sections:
            name, _, only = path.partition(".")
            section: Section = getattr(settings, name)
            if only:
                value = getattr(section, only)
                fields.setdefault(name, {})[only] = value.key_fields() if isinstance(value, Section) else value
            else:
                whole = section.key_fields()
                fields[name] = {one: whole[one] for one in whole if f"{name}.{one}" not in self.excludes}
        if self.generates:
            fields["generator"] = vars(transformers_identity(settings.model.dtype))
        if self.name == "base" and (folder := find_base(settings)):
            fields["files"] = model_digest(folder, Path(settings.storage.cache_dir))
        if self.name == "prepare":
            if settings.prepare.path:
                fields["files"] = fingerprint(Path(settings.prepare.path))
            sources, benchmarks = settings.prepare.sources, settings.prepare.decontaminate
            if places := [*(one.path for one in sources), *(one.path for one in benchmarks)]:
                fields["published"] = [fingerprint_of(place) for place in places]
        return fields


def named(function: str) -> Callable[..., Any]:
    """The function that `module:name` means."""
    module, name = function.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def find_base(settings: Settings) -> Path | None:
    """The base model's folder, from the working directory or the repository; `None` for a hub id."""
    name = settings.model.base
    return next((path for path in (Path(name), REPOSITORY / name) if path.is_dir()), None)


class BaseStage(Stage):
    """The model to start from."""

    model = Output()


class PrepareStage(Stage):
    """The pairs, and the ledger that keeps each in its split."""

    preferences = Output()
    splits = Output()


class DistillStage(Stage):
    """The teacher's reasoning about pairs."""

    distilled = Output()


class TrainingStage(Stage):
    """A trained model, and its figures by step."""

    model = Output()
    history = Output()


class SamplingStage(Stage):
    """Samples, those that were kept, and each pair's pass rate."""

    trajectories = Output()


class RejectionSamplingStage(Stage):
    """The trajectories as they are, and the model that was fine-tuned on the kept ones."""

    trajectories = Output()
    model = Output()
    history = Output()


class EvaluateStage(Stage):
    """Accuracies on held-out pairs, for people and programs."""

    report = Output()


class PromoteStage(Stage):
    """What was registered, and what the gate decided."""

    registration = Output()


_MEDIA_CAPS = ("model.max_pixels", "model.max_frames")  # all of `model` that matters where no model takes part
_TO_JUDGE = "runtime.generation_batch or runtime.generation_tokens"

base = BaseStage("base", "2", body="tasks.stages.prepare:base", sections=("model.base", "model.revision"), seeded=False)
prepare = PrepareStage(
    "prepare",
    "8",
    body="tasks.stages.prepare:prepare",
    sections=("prepare", "model.max_frames"),
    dynamic_inputs="tasks.stages.dynamic_inputs:gather",
)
distill = DistillStage(
    "distill",
    "7",
    body="tasks.stages.distill:distill",
    sections=("distill", *_MEDIA_CAPS),
    opens=("train",),
)
cold_start = TrainingStage(
    "cold-start",
    "5",
    body="tasks.stages.training:cold_start",
    sections=("cold_start", "model"),
    opens=("train",),
    memory="cold_start.micro_batch or runtime.micro_tokens",
)
sampling = SamplingStage(
    "sampling",
    "2",
    body="tasks.stages.rejection_sampling:sample",
    sections=("rejection_sampling", "model"),
    excludes=("rejection_sampling.sft",),
    opens=("train",),
    memory="runtime.generation_tokens",
    part_of="rejection-sampling",
    generates=True,
)
rejection_sampling = RejectionSamplingStage(
    "rejection-sampling",
    "8",
    body="tasks.stages.rejection_sampling:rejection_sampling",
    sections=("rejection_sampling.sft", "model"),
    opens=("train",),
    memory="rejection_sampling.sft.micro_batch or runtime.micro_tokens",
)
grpo = TrainingStage(
    "grpo",
    "8",
    body="tasks.stages.training:grpo",
    sections=("grpo", "model"),
    opens=("train", "validation"),
    memory="grpo.micro_batch, runtime.micro_tokens, runtime.generation_tokens or grpo.max_tokens",
)
evaluate = EvaluateStage(
    "evaluate",
    "6",
    body="tasks.stages.evaluate:evaluate",
    sections=("evaluate", "model"),
    opens=("held_out",),
    memory=_TO_JUDGE,
    generates=True,
)
promote = PromoteStage(
    "promote",
    "7",
    body="tasks.stages.promote:promote",
    sections=("promote", "tracking", "evaluate", "model"),
    opens=("train", "held_out"),  # train: which pairs came through the inbox
    memory=_TO_JUDGE,
    is_stale="tasks.stages.undone:is_stale",
)

METHOD: tuple[Stage, ...] = (
    base(),
    prepare(),
    distill(preferences=prepare.preferences),
    cold_start(base=base.model, preferences=prepare.preferences, distilled=distill.distilled),
    sampling(model=cold_start.model, preferences=prepare.preferences),
    rejection_sampling(model=cold_start.model, preferences=prepare.preferences, trajectories=sampling.trajectories),
    grpo(
        model=rejection_sampling.model,
        trajectories=rejection_sampling.trajectories,
        preferences=prepare.preferences,
    ),
    evaluate(
        base=base.model,
        cold_start=cold_start.model,
        rejection_sampling=rejection_sampling.model,
        grpo=grpo.model,
        preferences=prepare.preferences,
        distilled=distill.distilled,
        trajectories=rejection_sampling.trajectories,
        history=grpo.history,
    ),
    promote(report=evaluate.report, model=grpo.model, preferences=prepare.preferences, splits=prepare.splits),
)
STAGES: dict[str, Stage] = {stage.name: stage for stage in METHOD}  # in an order in which they can be computed

StageName = Literal["prepare", "distill", "cold-start", "rejection-sampling", "grpo", "evaluate", "promote"]
RECIPE: tuple[StageName, ...] = (
    "prepare",
    "distill",
    "cold-start",
    "rejection-sampling",
    "grpo",
    "evaluate",
    "promote",
)
NEED_BASE = frozenset(("distill", "cold-start", "evaluate"))  # distill does not read it, but its answers cost money
TRAINED = ("cold-start", "rejection-sampling", "grpo")
EVALUATED = ("base", "cold-start", "rejection-sampling", "grpo")
