"""The bodies of `cold-start` and `grpo`, and the fine-tuning that rejection sampling shares."""

import json
import shutil
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from configs.schema import Sft
from models.errors import DataError, TrainingCollapsed
from models.pairs.preference import PreferencePair, Task
from models.training.curriculum import HISTORY, Curriculum, best_of, draw_validation, named_pairs, plan_curriculum
from models.training.hooks import Hooks
from models.training.worker.plan import Examples, TrainingPlan, fine_tuned, optimised
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.run import MEMORY
from tasks.stages.context import Context, stage_context
from tasks.store.artifacts import ArtifactRef
from tasks.training.start import train, training_folder

if TYPE_CHECKING:
    from models.training.health import Ending

CHECKPOINT = "checkpoint-"
BEST = "best-"
TRAINER_FILES = ("trainer_state.json", HISTORY)
# Figures that depend on the clock or on when a run was resumed: shown in MLflow, but left out of artifacts,
# whose digests they would change.
VOLATILE_METRICS = ("step_time", "runtime", "per_second", "samples_per", "profiling", "num_tokens")


def cold_start(job: Job, child: Child, scratch: Path) -> Done:
    """Fine-tune the base on the teacher's reasoning."""
    with stage_context(job, child, scratch) as context:
        table = pq.read_table(context.input("distilled") / "distilled.parquet")
        pairs = {pair.id: pair for pair in context.preferences().pairs("train")}
        chosen = [pairs[one] for one in table["pair_id"].to_pylist()]
        outputs, facts = fine_tune(context, "base", chosen, table["completion"].to_pylist(), "cold_start")
        return context.done(outputs, **facts)


def fine_tune(
    context: Context, model_input: str, pairs: list[PreferencePair], completions: list[str], section: str
) -> tuple[dict[str, ArtifactRef], dict[str, Any]]:
    """SFT from one of the stage's input models; returns the outputs `model` and `history`, and facts.

    `section` is the dotted name of the settings that it takes.
    """
    sft: Sft = attrgetter(section)(context.settings)
    if not pairs:
        raise DataError(f"{context.job.stage} has nothing to fine-tune on: no reasoning was kept upstream")
    checkpoints = Checkpoints(context)
    hooks = Hooks(
        on_checkpoint=checkpoints.keep,
        on_metrics=checkpoints.log,
        on_progress=context.progress("steps"),
    )
    media = context.preferences()
    direct = [pair for task in Task for pair in answered_directly(media.pairs("train", task), sft.direct_pairs)]
    with training_folder(context.job, context.scratch) as folder:
        plan = plan_in(folder, context, context.input(model_input), section=section, sft=sft)
        examples = Examples(pairs, completions, direct)
        facts = train(folder, plan, examples, hooks, trainer=fine_tuned, stage=context.job.stage, log=context.child.log)
        history = context.new_folder("history")
        write_history(history, facts.pop("log"))
        outputs = {"model": context.publish("model", plan.out), "history": context.publish("history", history)}
    return outputs, {**facts, "trained_on": len(pairs)}


def plan_in(folder: Path, context: Context, source: Path, **section: Any) -> TrainingPlan:
    """The plan of a training in `folder`, from the model `source`, or from the newest checkpoint that is kept."""
    settings = context.settings
    return TrainingPlan(
        seed=settings.seed,
        model=settings.model,
        runtime=settings.runtime,
        source=source,
        out=folder / "model",
        scratch=folder / "trainer",
        resume_from=latest_checkpoint(context, folder / "trainer"),
        **context.sealed_preferences(),
        **section,
    )


def answered_directly(pairs: Sequence[PreferencePair], count: int) -> list[PreferencePair]:
    """The first `count` pairs that have a better candidate, every other two of them swapped.

    Two at a time, for sources that alternate which candidate is the better one.
    """
    decided = [pair for pair in pairs if pair.preferred != "tie"][:count]
    return [pair.swapped() if at // 2 % 2 else pair for at, pair in enumerate(decided)]


def grpo(job: Job, child: Child, scratch: Path) -> Done:
    """Optimise on what rejection sampling got wrong; publish what is best on validation pairs, or the start."""
    with stage_context(job, child, scratch) as context:
        settings = job.settings
        rates = read_pass_rates(context.input("trajectories"))
        chosen = plan_curriculum(
            rates,
            band=settings.grpo.hard,
            pairs=settings.grpo.pairs,
            solved_share=settings.grpo.solved_share,
            seed=settings.seed,
        )
        start = context.input("model")
        if not chosen.hard:
            child.log(f"no pair is hard under grpo.hard={settings.grpo.hard}: the model is passed through unchanged")
            return context.done(passed_through(context), hard_pairs=0, passed_through=True)
        result = _optimise(context, start, chosen)
        ended = _report_ending(context, result)
        history = context.new_folder("history")
        write_history(history, result["log"], validation=result["validation"], best=result["best"])
        outputs = {"model": _best_model(context, result), "history": context.publish("history", history)}
        return context.done(
            outputs,
            hard_pairs=chosen.hard,
            trained_on=len(chosen.train),
            best_step=result["best"]["step"],
            validation_start=result["validation"][0]["accuracy"],
            validation_best=result["best"]["accuracy"],
            **({} if ended.collapsed_at is None else {"collapsed_at": ended.collapsed_at}),
            **result["adapters"],
            **({MEMORY: result[MEMORY]} if MEMORY in result else {}),
        )


def _report_ending(context: Context, result: Mapping[str, Any]) -> "Ending":
    """Log how the optimisation ended and what is published.

    Raises `TrainingCollapsed` if it lost what the start could do and no checkpoint is better than the start.
    """
    from models.training.health import ending

    g, best, first = context.settings.grpo, result["best"], result["validation"][0]["accuracy"]
    ended = ending(result["log"], result["validation"], limit=g.no_spread_steps, learning_rate=g.learning_rate)
    if ended.collapsed_at is not None and best["step"] == 0:
        raise TrainingCollapsed(ended.says)
    if ended.says:
        context.child.log(ended.says)
    context.child.log(
        f"best on validation: step {best['step']:g}, accuracy {best['accuracy']:.3f} (start {first:.3f})"
        + ("; no checkpoint beat the start, which is published" if best["step"] == 0 else "")
    )
    return ended


def passed_through(context: Context) -> dict[str, ArtifactRef]:
    """The stage's outputs when there is nothing to train on: its input model, and a history that says so."""
    history = context.new_folder("history")
    write_history(history, [], passed_through=True)
    return {"model": context.job.inputs["model"], "history": context.publish("history", history)}


def _optimise(context: Context, start: Path, chosen: Curriculum) -> dict[str, Any]:
    settings, media = context.settings, context.preferences()
    checkpoints = Checkpoints(context)
    hooks = Hooks(
        on_checkpoint=checkpoints.keep,
        on_metrics=checkpoints.log,
        on_progress=context.progress("steps"),
        on_best=lambda folder, step: context.work.put_tree(f"{BEST}{step}", folder),
        on_completions=lambda step, rows: context.run.log_table("completions", columns_of(rows), step=step),
    )
    examples = Examples(
        named_pairs(chosen.train, media.pairs("train")),
        validation=draw_validation(media.pairs("validation"), settings.grpo.validation_pairs, settings.seed),
        reserve=named_pairs(chosen.reserve, media.pairs("train")) if settings.grpo.refill else (),
    )
    with training_folder(context.job, context.scratch) as folder:
        plan = plan_in(folder, context, start, section="grpo", grpo=settings.grpo)
        return train(folder, plan, examples, hooks, trainer=optimised, stage=context.job.stage, log=context.child.log)


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows turned into columns."""
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _best_model(context: Context, result: dict[str, Any]) -> ArtifactRef:
    step = int(result["best"]["step"])
    if step == 0:
        return context.job.inputs["model"]
    folder = context.new_folder("best")
    context.work.get_tree(f"{BEST}{step}", folder)
    return context.publish("model", folder)


class Checkpoints:
    """A training's figures and checkpoints on their way to MLflow and the store."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._figures: dict[str, float] = {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of a step; the newest of each go with the next checkpoint."""
        self._figures |= values
        self._context.run.log_metrics(dict(values), step=step)

    def keep(self, folder: Path, step: int) -> None:
        """Keep a checkpoint for resuming, drop those before the last few, and show its model in MLflow.

        The model alone, without the optimizer, is an artifact of its own, so that its address outlives the stage.
        """
        context = self._context
        context.work.put_tree(folder.name, folder)
        if any(folder.glob("*.safetensors")):  # of a sharded training there is no whole model before its end
            self._show(folder, step)
        names = sorted(context.work.trees(), key=_step_of)
        old = [name for name in names if name.startswith(CHECKPOINT)][: -context.settings.runtime.checkpoints_kept]
        # A best model is needed while a kept checkpoint may still lead to it: the newest one publishes the one that its
        # history names, which after a resume need not be the newest model there is.
        named = best_step(folder)
        best = [name for name in names if name.startswith(BEST) and named is not None and _step_of(name) != named]
        for name in [*old, *best]:
            context.work.delete(name)

    def _show(self, folder: Path, step: int) -> None:
        """The model of a checkpoint as an artifact, in MLflow."""
        context = self._context
        model = context.new_folder("checkpoint")
        for file in folder.iterdir():
            if file.suffix == ".safetensors" or (file.suffix == ".json" and file.name not in TRAINER_FILES):
                shutil.copy2(file, model / file.name)
        ref = context.publish("checkpoint", model)
        name = f"{context.job.stage}-{folder.name}"
        params = {"digest": ref.digest}
        context.run.log_checkpoint(name, step=step, metrics=self._figures, uri=context.store.uri(ref), params=params)
        shutil.rmtree(model)


def best_step(checkpoint: Path) -> int | None:
    """The step that a checkpoint's history of validation calls best, 0 for the start; None if it has no history."""
    history = checkpoint / HISTORY
    if not history.is_file():
        return None
    entries = json.loads(history.read_text())
    return int(best_of(entries)["step"]) if entries else None


def latest_checkpoint(context: Context, trainer: Path) -> Path | None:
    """The newest whole checkpoint of an interrupted attempt, fetched below `trainer`, or None."""
    names = sorted((name for name in context.work.trees() if name.startswith(CHECKPOINT)), key=_step_of)
    if not names:
        return None
    target = trainer / names[-1]
    if target.exists():
        shutil.rmtree(target)
    context.work.get_tree(names[-1], target)
    context.child.log(f"resuming from {names[-1]}")
    return target


def _step_of(name: str) -> int:
    return int(name.rpartition("-")[2])


def read_pass_rates(trajectories: Path) -> dict[str, float]:
    """Pass rate by pair id."""
    table = pq.read_table(trajectories / "pass_rates.parquet")
    return dict(zip(table["pair_id"].to_pylist(), table["pass_rate"].to_pylist(), strict=True))


def write_history(folder: Path, log: list[dict[str, float]], **more: object) -> None:
    """The trainer's figures by step, without the passing ones."""

    def lasting(row: Mapping[str, float]) -> dict[str, float]:
        return {name: value for name, value in row.items() if not any(part in name for part in VOLATILE_METRICS)}

    rows = [lasting(row) for row in log if "train_loss" not in row]
    (folder / "history.json").write_text(json.dumps({"log": rows, **more}, indent=1, sort_keys=True) + "\n")
