"""The method as a graph: each stage's inputs, the settings that enter its key, and where its work is written.

`version` is the stage's code version: raise it when a change alters what the stage computes. It is said by hand, since
no hash of sources knows which change alters a result; that it is thought of is checked (tasks/pipeline/stage_code.py;
CONTRIBUTING, "Stage versions").
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from configs.forms import Form
from configs.schema import Section, Settings
from models.generation.protocol import transformers_identity
from models.pairs.preference import Split
from tasks.data.locations import fingerprint, fingerprint_of, model_digest

PREVIOUS = "previous"  # the input of prepare that is the ledger of splits of the version before
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Input:
    """One input of a stage: the output `output` of the stage `stage`."""

    stage: str
    output: str


@dataclass(frozen=True)
class Stage:
    """One stage. `body` is the function that computes it in a child process.

    `sections` are the settings in its key: whole sections, or single fields as `section.field` where the others cannot
    change its result. With `generates` the key names what writes its texts, too, and with `seeded` the seed.
    `opens` are the splits of its preferences that the body can read, and no other. `memory` names the settings to lower
    when memory runs out. Inputs that no other stage makes come from the function `dynamic_inputs`. What a stage did
    outside the store may be undone there: `is_stale` is a function that says so.
    """

    name: str
    version: str
    inputs: dict[str, Input]
    outputs: tuple[str, ...]
    sections: tuple[str, ...]
    body: str
    opens: tuple[Split, ...] = ()
    memory: str = "model.max_pixels"
    dynamic_inputs: str = ""
    is_stale: str = ""
    generates: bool = False
    seeded: bool = True

    @property
    def form(self) -> Form:
        """What a person may set when this stage is deployed; where things are kept is its environment's to say."""
        sections = dict.fromkeys(name.partition(".")[0] for name in self.sections)
        return Form(*(name for name in sections if name != "tracking"), "runtime")

    def config(self, settings: Settings) -> dict[str, object]:
        """The fields that change this stage's result."""
        fields: dict[str, Any] = {"seed": settings.seed} if self.seeded else {}
        for said in self.sections:
            name, _, only = said.partition(".")
            section: Section = getattr(settings, name)
            if only:
                fields.setdefault(name, {})[only] = getattr(section, only)
            else:
                fields[name] = section.key_fields()
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


def find_base(settings: Settings) -> Path | None:
    """The base model's folder, from the working directory or the repository; `None` for a hub id."""
    name = settings.model.base
    return next((path for path in (Path(name), REPOSITORY / name) if path.is_dir()), None)


_PREFERENCES = Input("prepare", "preferences")
_BASE = Input("base", "model")
_SHOWN = ("model.max_pixels", "model.max_frames")  # all of `model` that matters where no model takes part

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("base", "2", {}, ("model",), ("model.base", "model.revision"), "tasks.stages.prepare:base", seeded=False),
        Stage(
            "prepare",
            "7",
            {},
            ("preferences", "splits"),
            ("prepare", "model.max_frames"),
            "tasks.stages.prepare:prepare",
            dynamic_inputs="tasks.stages.dynamic_inputs:gather",
        ),
        Stage(
            "distill",
            "6",
            {"preferences": _PREFERENCES},
            ("distilled",),
            ("distill", *_SHOWN),
            "tasks.stages.distill:distill",
            opens=("train",),
        ),
        Stage(
            "cold-start",
            "4",
            {"base": _BASE, "preferences": _PREFERENCES, "distilled": Input("distill", "distilled")},
            ("model", "history"),
            ("cold_start", "model"),
            "tasks.stages.training:cold_start",
            opens=("train",),
            memory="cold_start.micro_batch or runtime.micro_tokens",
        ),
        Stage(
            "rejection-sampling",
            "6",
            {"model": Input("cold-start", "model"), "preferences": _PREFERENCES},
            ("trajectories", "hard", "model", "history"),
            ("rejection_sampling", "model"),
            "tasks.stages.rejection_sampling:rejection_sampling",
            opens=("train",),
            memory="runtime.generation_tokens, rejection_sampling.sft.micro_batch or runtime.micro_tokens",
            generates=True,
        ),
        Stage(
            "grpo",
            "6",
            {
                "model": Input("rejection-sampling", "model"),
                "trajectories": Input("rejection-sampling", "trajectories"),
                "preferences": _PREFERENCES,
            },
            ("model", "history"),
            ("grpo", "model"),
            "tasks.stages.training:grpo",
            opens=("train", "validation"),
            memory="grpo.micro_batch, runtime.micro_tokens or grpo.max_tokens",
        ),
        Stage(
            "evaluate",
            "5",
            {
                "base": _BASE,
                "cold-start": Input("cold-start", "model"),
                "rejection-sampling": Input("rejection-sampling", "model"),
                "grpo": Input("grpo", "model"),
                "preferences": _PREFERENCES,
                "distilled": Input("distill", "distilled"),
                "trajectories": Input("rejection-sampling", "trajectories"),
                "history": Input("grpo", "history"),
            },
            ("report",),
            ("evaluate", "model"),
            "tasks.stages.evaluate:evaluate",
            opens=("held_out",),
            memory="runtime.generation_batch or runtime.generation_tokens",
            generates=True,
        ),
        Stage(
            "promote",
            "6",
            {
                "report": Input("evaluate", "report"),
                "model": Input("grpo", "model"),
                "preferences": _PREFERENCES,
                "splits": Input("prepare", "splits"),
            },
            ("registration",),
            ("promote", "tracking", "evaluate", "model"),
            "tasks.stages.promote:promote",
            opens=("train", "held_out"),  # train: which pairs came through the inbox
            memory="runtime.generation_batch or runtime.generation_tokens",
            is_stale="tasks.stages.promote:is_stale",
        ),
    )
}

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
TRAINED = ("cold-start", "rejection-sampling", "grpo")
EVALUATED = ("base", "cold-start", "rejection-sampling", "grpo")
