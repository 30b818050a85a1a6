"""The body of `evaluate`: judge the held-out pairs with each stage's model, score, compare, and write the report.

A model's judgments are an artifact of their own, keyed by (model digest, held-out pairs, protocol), so that a
changed stage costs only its own model's calls, and new training pairs cost none. So are those of the oracle, the judge
that `evaluate.oracle` names as the ceiling, keyed by what it is.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from models.errors import ArtifactCorrupt
from models.evaluation.judged_rows import JudgedRow, read_rows, write_rows
from models.evaluation.kinds import OVER
from models.evaluation.metrics import detailed_metrics, headline_metrics
from models.evaluation.report.data import Example, ModelEntry, ReportData, choose_examples, illustrate
from models.evaluation.report.html import render_report
from models.evaluation.scores import paired_difference, score
from models.generation.protocol import SamplingParams
from models.judging.judge import Judge
from models.pairs.dataset import pairs_file
from models.pairs.preference import PreferencePair, Task
from models.verdict.grammar import Mode
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.graph import EVALUATED, RECIPE, STAGES, Stage
from tasks.pipeline.once import computed_once
from tasks.pipeline.plan import stage_key
from tasks.stages.context import Context, peak_memory_mib, stage_context
from tasks.stages.generators import identify_oracle, load_judge, load_oracle
from tasks.store.artifact_types import ArtifactRef, IndexEntry
from tasks.store.artifacts import Store

MODES: tuple[Mode, ...] = ("think", "direct")
DIRECT_TOKENS = 24
JUDGING = "judging"
# Greedily, so that no seed matters; resamples and examples change the report, not the judgments.
_JUDGED_BY = ("evaluate.pairs", "evaluate.max_tokens", "evaluate.stop_malformed", "model")
JUDGED = Stage(JUDGING, "5", body="", sections=_JUDGED_BY, generates=True, seeded=False)
NO_ORACLE = "none"
ORACLE = "oracle"  # its name in reports, and the stage of its judgments in the index
_ORACLE_BY = ("evaluate.oracle", *_JUDGED_BY)
ORACLE_JUDGED = Stage(ORACLE, "1", body="", sections=_ORACLE_BY, seeded=False)
COMPARED = (*zip(EVALUATED[1:], EVALUATED[:-1], strict=True), ("grpo", "cold-start"), ("grpo", "base"))


def evaluate(job: Job, child: Child, scratch: Path) -> Done:
    """All four models and the oracle, both modes, both orders, greedy; an unparsed answer is wrong."""
    with stage_context(job, child, scratch) as context:
        config = job.settings.evaluate
        rows = {name: judged_rows(context, name) for name in EVALUATED}
        if job.settings.oracle != NO_ORACLE:
            rows[ORACLE] = oracle_rows(context)
        scores = {name: score(rows[name], bootstrap=config.bootstrap, seed=job.settings.seed) for name in rows}
        differences = _differences(context, rows)
        folder = context.new_folder("report")
        plain = {"accuracy": scores, "differences": differences, "models": {n: job.inputs[n].digest for n in EVALUATED}}
        (folder / "report.json").write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")
        data = ReportData(
            models=[ModelEntry(name, scores[name]) for name in EVALUATED],
            oracle=ModelEntry(ORACLE, scores[ORACLE]) if ORACLE in scores else None,
            differences=differences,
            distill_yield=_read_json(context.input("distilled") / "yield.json"),
            pass_rates=pq.read_table(context.input("trajectories") / "pass_rates.parquet").to_pylist(),
            grpo_history=curves(_read_json(context.input("history") / "history.json")),
            examples=_examples(context, rows[EVALUATED[-1]]),
            stages=_stage_rows(context),
            meta=_meta(context),
        )
        (folder / "report.html").write_text(render_report(data), encoding="utf-8")
        _write_example(context, folder / "example")
        context.run.log_file(folder / "report.html", "report.html")
        context.run.log_file(folder / "report.json", "report.json")
        context.run.log_metrics(detailed_metrics(scores, differences), step=0)
        return context.done({"report": context.publish("report", folder)}, **headline_metrics(scores))


def judged_rows(context: Context, name: str) -> list[JudgedRow]:
    """One model's rows, from the store if it has judged these pairs by this protocol before."""
    model = context.job.inputs[name]
    key = stage_key(JUDGED, context.settings, {"model": model})
    return _kept(
        context, JUDGED, key, lambda: _judge(context, name, MODES, lambda: load_judge(context, name)), {"model": model}
    )


def oracle_rows(context: Context) -> list[JudgedRow]:
    """The thinking answers of the judge that `evaluate.oracle` names, kept as those of models are."""
    who = json.dumps(vars(identify_oracle(context.settings)), sort_keys=True)
    key = f"{stage_key(ORACLE_JUDGED, context.settings, {})} {who}"
    return _kept(context, ORACLE_JUDGED, key, lambda: _judge(context, ORACLE, MODES[:1], lambda: load_oracle(context)))


def _kept(
    context: Context,
    stage: Stage,
    without_data: str,
    judge: Callable[[], list[JudgedRow]],
    inputs: Mapping[str, ArtifactRef] | None = None,
) -> list[JudgedRow]:
    """The rows that `judge` gives, once for what its key says without the data, and for these held-out pairs."""
    inputs = {**(inputs or {}), "preferences": context.job.inputs["preferences"]}
    held_out = held_out_digest(context.store, inputs["preferences"])
    key = hashlib.sha256(f"{without_data} {held_out}".encode()).hexdigest()

    def compute() -> IndexEntry:
        folder = context.new_folder("judgments")
        write_rows(folder / "judgments.parquet", judge())
        return IndexEntry(
            stage=stage.name,
            key=key,
            outputs={"judgments": context.publish("judgments", folder)},
            inputs=inputs,
            config={**stage.config(context.settings), "held_out": held_out},
            code_version=stage.version,
        )

    entry = computed_once(context.store, context.settings, stage.name, key, compute, refs=inputs.values())
    return read_rows(context.store.fetch(entry.outputs["judgments"]) / "judgments.parquet")


def held_out_digest(store: Store, preferences: ArtifactRef) -> str:
    """sha256 of what preferences hold out: of the file of its pairs, which name the sha256 of every medium.

    Equal for two versions that differ in their training pairs alone.
    """
    name = pairs_file("held_out")
    found = next((file.sha256 for file in store.manifest(preferences).files if file.path == name), None)
    if found is None:
        raise ArtifactCorrupt(f"{store.uri(preferences)} has no {name}: refresh the stage prepare")
    return found


def _judge(context: Context, name: str, modes: Sequence[Mode], load: Callable[[], Judge]) -> list[JudgedRow]:
    """Judge task by task and mode by mode; what an interrupted attempt finished is read, not redone."""
    config = context.settings.evaluate
    judge = None
    rows: list[JudgedRow] = []
    parts = [(task, mode) for mode in modes for task in Task]
    by_id = {pair.id: pair for pair in held_out_pairs(context)}  # read and verified once, not for every part
    for at, (task, mode) in enumerate(parts):
        part = f"judged/{name}-{task}-{mode}.json"
        done = context.work.get_json(part)
        if done is None:
            judge = judge or load()

            def report(count: int, total: int, before: int = at) -> None:
                context.child.progress(int((before + count / total) * 1000), len(parts) * 1000, name)

            pairs = [pair for pair in by_id.values() if pair.task == task]
            judgments = judge.judge(
                pairs,
                mode,
                SamplingParams(
                    max_tokens=config.max_tokens if mode == "think" else DIRECT_TOKENS,
                    stop_malformed=config.stop_malformed,
                ),
                both_orders=True,
                on_progress=report,
            )
            done = [[one.pair.id, one.swapped, one.text, one.truncated, one.refused] for one in judgments]
            context.work.put_json(part, done)
        for pair_id, swapped, text, truncated, *refused in done:  # parts of before refusals were kept have none
            pair = by_id[pair_id].swapped() if swapped else by_id[pair_id]
            rows.append(JudgedRow.read(pair, mode, swapped, text, truncated, *refused))
    return rows


def held_out_pairs(context: Context) -> list[PreferencePair]:
    """The held-out pairs; pairs labelled a tie are left out, as the paper does."""
    dataset, most = context.preferences(), context.settings.evaluate.pairs
    return [pair for task in Task for pair in dataset.pairs("held_out", task)[:most] if pair.preferred != "tie"]


def _differences(context: Context, rows: dict[str, list[JudgedRow]]) -> list[dict[str, Any]]:
    """Each stage against the one before, and the last against the cold start and the base, with paired intervals.

    Of each the difference over tasks and, in `macro`, that over kinds.
    """
    seed, bootstrap = context.settings.seed, context.settings.evaluate.bootstrap
    found = []
    for mode in MODES:
        for after, before in COMPARED:
            tasks, kinds = (
                vars(paired_difference(rows[after], rows[before], mode=mode, bootstrap=bootstrap, seed=seed, over=over))
                for over in OVER
            )
            found.append({"from": before, "to": after, "mode": mode, **tasks, "macro": kinds})
    return found


def _examples(context: Context, rows: list[JudgedRow]) -> list[Example]:
    chosen = choose_examples(
        rows, held_out_pairs(context), per_task=context.settings.evaluate.examples, seed=context.settings.seed
    )
    return illustrate(chosen, context.preferences().frames)


def _write_example(context: Context, folder: Path) -> None:
    """One held-out pair of images as files, for whoever wants to try the model on something."""
    dataset = context.preferences()
    for pair in dataset.pairs("held_out", Task.IMAGE_GENERATION)[:1]:
        folder.mkdir()
        (folder / "prompt.txt").write_text(pair.prompt, encoding="utf-8")
        for number, candidate in enumerate(pair.candidates, start=1):
            if candidate.media is not None:
                suffix = Path(candidate.media.uri).suffix
                (folder / f"candidate-{number}{suffix}").write_bytes(dataset.blob(candidate.media.uri))


def curves(history: dict[str, Any]) -> list[dict[str, Any]]:
    """GRPO's figures by step, the validations among them with the chosen one marked."""
    best = history.get("best", {}).get("step")
    validations = [
        {"step": v["step"], "validation/accuracy": v["accuracy"], "chosen": v["step"] == best}
        for v in history.get("validation", ())
    ]
    return [*history["log"], *validations]


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def _stage_rows(context: Context) -> list[dict[str, Any]]:
    """Time and memory of the stages behind this report, from their index entries, and of this one so far."""
    wanted = {ref.digest for ref in context.job.inputs.values()}
    rows = []
    for name in RECIPE:
        for entry in context.store.entries(name):
            if wanted & {ref.digest for ref in entry.outputs.values()} and set(entry.outputs) == set(
                STAGES[name].outputs
            ):
                artifacts = {output: ref.short for output, ref in entry.outputs.items()}
                facts = {"seconds": entry.facts.get("seconds"), "peak_memory_mib": entry.facts.get("peak_memory_mib")}
                rows.append({"name": name, "state": "computed", "key": entry.key, "artifacts": artifacts, **facts})
                break
    seconds = round(time.monotonic() - context.started, 2)
    so_far = {"seconds": seconds, "peak_memory_mib": peak_memory_mib(), "artifacts": {}}
    return [*rows, {"name": context.job.stage, "state": "so far", "key": context.job.key, **so_far}]


def _meta(context: Context) -> dict[str, str]:
    inputs = {f"input {name}": ref.short for name, ref in context.job.inputs.items()}
    return {
        "profile": context.settings.profile,
        "seed": str(context.settings.seed),
        "key": context.job.key[:12],
        **inputs,
    }
