"""The bodies of rejection sampling: sample in shards and keep what is right; fine-tune on what was kept."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from models.evaluation.judged_rows import REFUSED
from models.generation.protocol import SamplingParams
from models.judging.judge import Judge
from models.pairs.preference import PreferencePair, Task
from models.training.selection import rejection
from models.training.trajectories import PassRate, Sampled, keep, pass_rates
from tasks.pipeline.child import Child, Done, Job
from tasks.stages.context import Context, stage_context
from tasks.stages.generators import load_judge
from tasks.stages.training import fine_tune, passed_through
from tasks.store.artifact_types import ArtifactRef

KEPT = "kept.parquet"


def sample(job: Job, child: Child, scratch: Path) -> Done:
    """Sample all four tasks in both orders; what is right is kept, and each pair has its pass rate."""
    with stage_context(job, child, scratch) as context:
        config = job.settings.rejection_sampling
        pairs = _pairs(context, config.pairs)
        sampled = _sample(context, pairs)
        # A pair is passed by an answer that is right and reasoning that is whole: the same test that keeps it.
        # What the model could not be shown is neither easy nor hard, and nothing to train on.
        shown_ids = {one.pair_id for one in sampled if not (one.rejection or "").startswith(REFUSED)}
        judged = [one for one in sampled if one.pair_id in shown_ids]
        if unshown := len({one.pair_id for one in sampled} - shown_ids):
            child.log(f"{unshown} of {len(pairs)} pairs could not be shown to the model and do not count")
        rates = pass_rates([one for one in pairs if one.id in shown_ids], judged, lambda one: one.rejection is None)
        kept = keep(pairs, sampled, per_pair=config.keep_per_pair, cap=config.keep_cap, seed=job.settings.seed)
        hard = sum(rate.right < rate.samples for rate in rates) if kept else len(pairs)
        child.log(f"{len(sampled)} samples of {len(pairs)} pairs: {len(kept)} kept, {hard} pairs hard")
        trajectories = _publish(context, sampled, kept, rates)
        counts = {"pairs": len(pairs), "samples": len(sampled), "kept": len(kept), "hard": hard}
        return context.done({"trajectories": trajectories}, **counts)


def rejection_sampling(job: Job, child: Child, scratch: Path) -> Done:
    """Fine-tune on the samples that were kept; without any the model is passed through unchanged."""
    with stage_context(job, child, scratch) as context:
        outputs = {"trajectories": job.inputs["trajectories"]}
        file = context.input("trajectories") / KEPT
        if not file.is_file():
            child.log("no sample was kept: the model is passed through unchanged")
            return context.done(outputs | passed_through(context))
        kept = [Sampled(**row) for row in pq.read_table(file).to_pylist()]
        by_id = {pair.id: pair for pair in context.preferences().pairs("train")}
        shown = [by_id[one.pair_id].swapped() if one.swapped else by_id[one.pair_id] for one in kept]
        texts = [one.text for one in kept]
        tuned, facts = fine_tune(context, "model", shown, texts, "rejection_sampling.sft")
        return context.done(outputs | tuned, **facts)


def _pairs(context: Context, per_task: int) -> list[PreferencePair]:
    dataset = context.preferences()
    return [pair for task in Task for pair in dataset.pairs("train", task)[:per_task] if pair.preferred != "tie"]


def _sample(context: Context, pairs: list[PreferencePair]) -> list[Sampled]:
    """All samples, shard by shard; a shard that an earlier attempt finished is read, not redone.

    A shard's name says which pairs it holds, so that an attempt with shards of another size reads none for another.
    """
    config = context.settings.rejection_sampling
    shards = [pairs[at : at + config.shard_pairs] for at in range(0, len(pairs), config.shard_pairs)]
    judge: Judge | None = None
    sampled: list[Sampled] = []
    for number, shard in enumerate(shards):
        first = number * config.shard_pairs
        name = f"shards/{first:06d}-{first + len(shard):06d}.json"
        rows = context.work.get_json(name)
        if rows is None:
            judge = judge or load_judge(context, "model")

            def report(done: int, total: int, before: int = number) -> None:
                context.child.progress(int((before + done / total) * 1000), len(shards) * 1000, "samples")

            rows = _sample_shard(context, judge, shard, report)
            context.work.put_json(name, rows)
        sampled += [Sampled(**row) for row in rows]
        context.child.progress((number + 1) * 1000, len(shards) * 1000, "samples")
    return sampled


def _sample_shard(
    context: Context, judge: Judge, shard: list[PreferencePair], on_progress: Callable[[int, int], None]
) -> list[dict[str, object]]:
    config = context.settings.rejection_sampling
    judgments = judge.judge(
        shard,
        "think",
        SamplingParams(
            n=config.samples,
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            stop_malformed=config.stop_malformed,
            seed=context.settings.seed,
        ),
        both_orders=True,
        on_progress=on_progress,
    )
    return [
        {
            "pair_id": one.pair.id,
            "swapped": one.swapped,
            "text": one.text,
            "rejection": f"{REFUSED}: {one.refused}" if one.refused else rejection(one.text, one.pair),
        }
        for one in judgments
    ]


def _publish(context: Context, sampled: list[Sampled], kept: list[Sampled], rates: list[PassRate]) -> ArtifactRef:
    rows = [
        {"pair_id": r.pair_id, "task": r.task, "samples": r.samples, "right": r.right, "pass_rate": r.rate}
        for r in rates
    ]
    folder = context.new_folder("trajectories")
    pq.write_table(pa.Table.from_pylist([vars(one) for one in sampled]), folder / "sampled.parquet")
    if kept:
        pq.write_table(pa.Table.from_pylist([vars(one) for one in kept]), folder / KEPT)
    pq.write_table(pa.Table.from_pylist(rows), folder / "pass_rates.parquet")
    return context.publish("trajectories", folder)
