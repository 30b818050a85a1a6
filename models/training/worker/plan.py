"""A training as a plan: all that a trainer is given, which a folder can hold for a program to read.

<folder>/plan.json         the settings, and where model, media and results are
<folder>/examples.parquet  role, pair (JSON) and completion of each example
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from configs.schema import Grpo, Model, Runtime, Sft
from models.errors import ConfigError
from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import PreferencePair, Split
from models.training.hooks import Hooks

PLAN, EXAMPLES = "plan.json", "examples.parquet"
TRAIN, DIRECT, VALIDATION, RESERVE = "train", "direct", "validation", "reserve"


@dataclass(frozen=True)
class Examples:
    """What is trained on: pairs, with their completions for fine-tuning; and of GRPO what it is validated on.

    `direct` pairs are asked for the answer alone; `reserve` pairs replace those of GRPO without spread (`grpo.refill`).
    """

    pairs: Sequence[PreferencePair]
    completions: Sequence[str] = ()
    direct: Sequence[PreferencePair] = ()
    validation: Sequence[PreferencePair] = ()
    reserve: Sequence[PreferencePair] = ()

    def write(self, folder: Path) -> None:
        """Write them into a folder."""
        rows: list[dict[str, str]] = []
        roles = {TRAIN: self.pairs, DIRECT: self.direct, VALIDATION: self.validation, RESERVE: self.reserve}
        for role, pairs in roles.items():
            texts = self.completions if role == TRAIN and self.completions else [""] * len(pairs)
            rows += [
                {"role": role, "pair": pair.model_dump_json(), "completion": text}
                for pair, text in zip(pairs, texts, strict=True)
            ]
        pq.write_table(pa.Table.from_pylist(rows), folder / EXAMPLES)

    @classmethod
    def read(cls, folder: Path, *, completed: bool) -> "Examples":
        """Read them again; `completed`: with completions."""
        found: dict[str, list[PreferencePair]] = {role: [] for role in (TRAIN, DIRECT, VALIDATION, RESERVE)}
        texts: list[str] = []
        for row in pq.read_table(folder / EXAMPLES).to_pylist():
            found[row["role"]].append(PreferencePair.model_validate_json(row["pair"]))
            if row["role"] == TRAIN:
                texts.append(row["completion"])
        return cls(found[TRAIN], texts if completed else (), found[DIRECT], found[VALIDATION], found[RESERVE])


class TrainingPlan(BaseModel):
    """One training: of the two sections `sft` and `grpo` the one that is set; `section` is its dotted name.

    `source` is the model to start from, `media` the preference dataset, of which the splits `opens` are read. The model
    that fine-tuning makes goes to `out`, checkpoints to `scratch`. `resume_from` is one of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    section: str
    seed: int
    model: Model
    runtime: Runtime
    sft: Sft | None = None
    grpo: Grpo | None = None
    source: Path
    media: Path
    opens: tuple[Split, ...]
    out: Path
    scratch: Path
    resume_from: Path | None = None

    def dataset(self) -> PreferenceDataset:
        """The media, within the caps of the model."""
        return PreferenceDataset(
            self.media,
            max_pixels=self.model.max_pixels,
            max_frames=self.model.max_frames,
            kept_bytes=self.runtime.decoded_bytes,
            opens=self.opens,
        )

    def write(self, folder: Path) -> None:
        """Write it into a folder, whole or not at all: other nodes look for it."""
        part = folder / f"{PLAN}.part"
        part.write_text(self.model_dump_json(indent=1))
        part.replace(folder / PLAN)

    @classmethod
    def read(cls, folder: Path) -> "TrainingPlan":
        """Read it again. Raises `ConfigError` where this machine does not see the folder."""
        try:
            text = (folder / PLAN).read_text()
        except OSError as error:
            raise ConfigError(
                f"{folder / PLAN} cannot be read on this node ({error.strerror}): storage.cache_dir must be on a file "
                "system that all nodes share, under the same path"
            ) from error
        return cls.model_validate_json(text)


def fine_tuned(plan: TrainingPlan, examples: Examples, hooks: Hooks) -> dict[str, Any]:
    """Fine-tune as planned, in this process or as one of several; returns what `train_sft` does."""
    from models.training.compute import Compute
    from models.training.sft import train_sft

    if plan.sft is None:
        raise ConfigError(f"the plan of {plan.section} has no section sft: it is none of fine-tuning")
    return train_sft(
        plan.source,
        examples.pairs,
        examples.completions,
        plan.dataset(),
        plan.out,
        sft=plan.sft,
        section=plan.section,
        compute=Compute(plan.seed, plan.model, plan.runtime),
        scratch=plan.scratch,
        direct=examples.direct,
        resume_from=plan.resume_from,
        hooks=hooks,
    )


def optimised(plan: TrainingPlan, examples: Examples, hooks: Hooks) -> dict[str, Any]:
    """Optimise the policy as planned, in this process or as one of several; returns what `train_grpo` does."""
    from models.training.compute import Compute
    from models.training.grpo import train_grpo

    if plan.grpo is None:
        raise ConfigError(f"the plan of {plan.section} has no section grpo: it is none of policy optimisation")
    return train_grpo(
        plan.source,
        examples.pairs,
        examples.validation,
        plan.dataset(),
        grpo=plan.grpo,
        compute=Compute(plan.seed, plan.model, plan.runtime),
        scratch=plan.scratch,
        resume_from=plan.resume_from,
        hooks=hooks,
        reserve=examples.reserve,
    )
