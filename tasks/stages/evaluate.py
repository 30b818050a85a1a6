"""The body of `evaluate`: judge the held-out pairs with each stage's model, score, compare, and write the report.

A model's judgments are an artifact of their own, keyed by (model digest, held-out pairs, protocol), so that a
changed stage costs only its own model's calls, and new training pairs cost none.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from models.errors import ArtifactCorrupt
from models.evaluation.judged_rows import JudgedRow, read_rows, write_rows
from models.evaluation.report.data import Example, ModelEntry, ReportData, choose_examples, illustrate
from models.evaluation.report.html import render_report
from models.evaluation.scores import paired_difference, score
from models.generation.protocol import SamplingParams
from models.pairs.dataset import pairs_file
from models.pairs.preference import PreferencePair, Task
from models.verdict.grammar import Mode
from tasks.pipeline.child import Child, Done, Job
from tasks.pipeline.graph import EVALUATED, RECIPE, STAGES, Stage
from tasks.pipeline.once import computed_once
from tasks.pipeline.plan import stage_key
from tasks.stages.context import Context, peak_memory_mib, stage_context
from tasks.stages.generators import load_judge
from tasks.store.artifact_types import ArtifactRef, IndexEntry
from tasks.store.artifacts import Store

MODES: tuple[Mode, ...] = ("think", "direct")
DIRECT_TOKENS = 24
JUDGING = "judging"
# Greedily, so that no seed matters; resamples and examples change the report, not the judgments.
_JUDGED_BY = ("evaluate.pairs", "evaluate.max_tokens", "evaluate.stop_malformed", "model")
JUDGED = Stage(JUDGING, "5", body="", sections=_JUDGED_BY, generates=True, seeded=False)


def evaluate(job: Job, child: Child, scratch: Path) -> Done:
    """All four models, both modes, both orders, greedy; an unparsed answer is wrong."""
    with stage_context(job, child, scratch) as context:
        config = job.settings.evaluate
        rows = {name: judged_rows(context, name) for name in EVALUATED}
        scores = {name: score(rows[name], bootstrap=config.bootstrap, seed=job.settings.seed) for name in EVALUATED}
        differences = _differences(context, rows)
        folder = context.new_folder("report")
        plain = {"accuracy": scores, "differences": differences, "models": {n: job.inputs[n].digest for n in EVALUATED}}
        (folder / "report.json").write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")
        data = ReportData(
            models=[ModelEntry(name, scores[name]) for name in EVALUATED],
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
        numbers = {f"{name}/think_accuracy": one["think"]["overall"] for name, one in scores.items()}
        numbers |= {f"{name}/direct_accuracy": one["direct"]["overall"] for name, one in scores.items()}
        return context.done({"report": context.publish("report", folder)}, **numbers)


def judged_rows(context: Context, name: str) -> list[JudgedRow]:
    """One model's rows, from the store if it has judged these pairs by this protocol before."""
    inputs = {"model": context.job.inputs[name], "preferences": context.job.inputs["preferences"]}
    held_out = held_out_digest(context.store, inputs["preferences"])
    without_data = stage_key(JUDGED, context.settings, {"model": inputs["model"]})
    key = hashlib.sha256(f"{without_data} {held_out}".encode()).hexdigest()

    def judge() -> IndexEntry:
        folder = context.new_folder("judgments")
        write_rows(folder / "judgments.parquet", _judge(context, name))
        return IndexEntry(
            stage=JUDGING,
            key=key,
            outputs={"judgments": context.publish("judgments", folder)},
            inputs=inputs,
            config={**JUDGED.config(context.settings), "held_out": held_out},
            code_version=JUDGED.version,
        )

    entry = computed_once(context.store, context.settings, JUDGING, key, judge, refs=inputs.values())
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


def _judge(context: Context, name: str) -> list[JudgedRow]:
    """Judge task by task and mode by mode; what an interrupted attempt finished is read, not redone."""
    config = context.settings.evaluate
    judge = None
    rows: list[JudgedRow] = []
    parts = [(task, mode) for mode in MODES for task in Task]
    by_id = {pair.id: pair for pair in held_out_pairs(context)}  # read and verified once, not for every part
    for at, (task, mode) in enumerate(parts):
        part = f"judged/{name}-{task}-{mode}.json"
        done = context.work.get_json(part)
        if done is None:
            judge = judge or load_judge(context, name)

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
    """Each stage against the one before, and the last against the cold start, with paired intervals."""
    compared = [*zip(EVALUATED[1:], EVALUATED[:-1], strict=True), ("grpo", "cold-start")]
    found = []
    for mode in MODES:
        for after, before in compared:
            d = paired_difference(
                rows[after],
                rows[before],
                mode=mode,
                bootstrap=context.settings.evaluate.bootstrap,
                seed=context.settings.seed,
            )
            found.append({"from": before, "to": after, "mode": mode, **vars(d)})
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
