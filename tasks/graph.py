"""The method as a graph: each stage's inputs, the settings that enter its key, and where its work is written.

`version` is the stage's code version: raise it when a change alters what the stage computes. It is said by
hand because no hash of sources knows which helper matters (CONTRIBUTING, "Stage versions").
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from configs.forms import Form
from configs.schema import Section, Settings
from models.preference import Split
from tasks.data_files import fingerprint, fingerprint_of

PREVIOUS = "previous"  # the input of prepare that is the ledger of splits of the version before
REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Need:
    """One input of a stage: the output `output` of the stage `stage`."""

    stage: str
    output: str


@dataclass(frozen=True)
class Stage:
    """One stage. `sections` are the settings in its key; `body` is the function that computes it in a child process.

    `opens` are the splits of its preferences that the body can read, and no other. `memory` names the settings to lower
    when memory runs out. Inputs that no other stage makes come from the function `gathers`. What a stage did outside
    the store may be undone there: `lapsed` is a function that says so.
    """

    name: str
    version: str
    needs: dict[str, Need]
    outputs: tuple[str, ...]
    sections: tuple[str, ...]
    body: str
    opens: tuple[Split, ...] = ()
    memory: str = "model.max_pixels"
    gathers: str = ""
    lapsed: str = ""

    @property
    def form(self) -> Form:
        """What a person may set when this stage is deployed; where things are kept is its environment's to say."""
        return Form(*(name for name in self.sections if name != "tracking"), "runtime")

    def config(self, settings: Settings) -> dict[str, object]:
        """The fields that change this stage's result."""
        fields: dict[str, object] = {"seed": settings.seed}
        for name in self.sections:
            section: Section = getattr(settings, name)
            fields[name] = section.key_fields()
        folder = self._local_source(settings)
        if folder is not None:
            fields["files"] = fingerprint(folder)
        if self.name == "prepare":
            sources, benchmarks = settings.prepare.sources, settings.prepare.decontaminate
            if places := [*(one.path for one in sources), *(one.path for one in benchmarks)]:
                fields["published"] = [fingerprint_of(place) for place in places]
        return fields

    def _local_source(self, settings: Settings) -> Path | None:
        """The folder outside the store that this stage reads, if it reads one."""
        if self.name == "base":
            return find_base(settings)
        if self.name == "prepare" and settings.prepare.path:
            return Path(settings.prepare.path)
        return None


def find_base(settings: Settings) -> Path | None:
    """The base model's folder, from the working directory or the repository; `None` for a hub id."""
    name = settings.model.base
    return next((path for path in (Path(name), REPOSITORY / name) if path.is_dir()), None)


_PREFERENCES = Need("prepare", "preferences")
_BASE = Need("base", "model")

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("base", "1", {}, ("model",), ("model",), "tasks.preparing:base"),
        Stage(
            "prepare",
            "4",
            {},
            ("preferences", "splits"),
            ("prepare",),
            "tasks.preparing:prepare",
            gathers="tasks.gathering:gather",
        ),
        Stage(
            "distill",
            "5",
            {"preferences": _PREFERENCES},
            ("distilled",),
            ("distill", "model"),
            "tasks.teacher:distill",
            opens=("train",),
        ),
        Stage(
            "cold-start",
            "3",
            {"base": _BASE, "preferences": _PREFERENCES, "distilled": Need("distill", "distilled")},
            ("model", "history"),
            ("cold_start", "model"),
            "tasks.training:cold_start",
            opens=("train",),
            memory="cold_start.micro_batch",
        ),
        Stage(
            "rejection-sampling",
            "5",
            {"model": Need("cold-start", "model"), "preferences": _PREFERENCES},
            ("trajectories", "hard", "model", "history"),
            ("rejection_sampling", "model"),
            "tasks.sampling:rejection_sampling",
            opens=("train",),
            memory="runtime.generation_batch or rejection_sampling.sft.micro_batch",
        ),
        Stage(
            "grpo",
            "5",
            {
                "model": Need("rejection-sampling", "model"),
                "trajectories": Need("rejection-sampling", "trajectories"),
                "preferences": _PREFERENCES,
            },
            ("model", "history"),
            ("grpo", "model"),
            "tasks.training:grpo",
            opens=("train", "validation"),
            memory="grpo.micro_batch or grpo.max_tokens",
        ),
        Stage(
            "evaluate",
            "3",
            {
                "base": _BASE,
                "cold-start": Need("cold-start", "model"),
                "rejection-sampling": Need("rejection-sampling", "model"),
                "grpo": Need("grpo", "model"),
                "preferences": _PREFERENCES,
                "distilled": Need("distill", "distilled"),
                "trajectories": Need("rejection-sampling", "trajectories"),
                "history": Need("grpo", "history"),
            },
            ("report",),
            ("evaluate", "model"),
            "tasks.scoring:evaluate",
            opens=("held_out",),
            memory="runtime.generation_batch",
        ),
        Stage(
            "promote",
            "2",
            {"report": Need("evaluate", "report"), "model": Need("grpo", "model"), "preferences": _PREFERENCES},
            ("registration",),
            ("promote", "tracking", "evaluate"),
            "tasks.promoting:promote",
            lapsed="tasks.promoting:lapsed",
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
EVALUATED = ("base", "cold-start", "rejection-sampling", "grpo")
