"""Judges on public benchmarks, by their papers' protocols and ours; docs/evaluation.md says how they are measured.

Deployed, run it with `prefect deployment run benchmark/default --watch -p
'sets=[{"name": "vl_reward_bench", "path": "s3://bucket/VL-RewardBench"}]'`; from a terminal, `thinkreward benchmark`
does the same without a server. Each judge's answers are kept in the store as they come, so that a run that is tried
again goes on where the last one was.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from configs.forms import Form, complete
from configs.schema import BenchmarkData, Settings
from tasks.orchestration.run_pages import best_effort, name_by_time, progress_lines, show_leaderboard
from tasks.orchestration.worker_process import init_worker_process
from tasks.pipeline.retries import call_with_retries, run_logger

FORM = Form("evaluate", "model", "runtime")


@flow(name="benchmark")
def benchmark(
    sets: Annotated[Sequence[BenchmarkData], Field(min_length=1)],
    judges: Annotated[Sequence[str], Field(min_length=1)] = ("champion",),
    direct: bool = False,
    both_orders: bool = True,
    votes: Annotated[int, Field(ge=1)] = 1,
    settings: Annotated[Settings, FORM] = FORM.defaults,
) -> dict[str, Any]:
    """Measure judges on benchmarks; the leaderboard is an artifact of the run, of the store, and in MLflow.

    Args:
        sets: which benchmarks, and where their files are
        judges: registry aliases, artifact digests, folders, or endpoint:MODEL
        direct: the answer alone, without reasoning
        both_orders: each pair in both presentation orders, or in one drawn by the seed
        votes: sampled answers to each presentation, of which the majority counts; 1 is one greedy answer
        settings: the profile's; evaluate.max_tokens and model's caps are part of the protocol
    """
    from tasks.data.importing import Place
    from tasks.judging.benchmarks import Protocol
    from tasks.judging.leaderboard import run_benchmarks

    settings = complete(settings)
    init_worker_process()
    best_effort(partial(name_by_time, settings))
    protocol = Protocol.of(settings, direct=direct, both_orders=both_orders, votes=votes)
    places = [Place(one.name, one.path) for one in sets]
    report = progress_lines(run_logger().info)
    measure = partial(run_benchmarks, settings, places, list(judges), protocol, lambda at, of: report(at, of, "judged"))
    benched = call_with_retries(settings, measure)
    best_effort(partial(show_leaderboard, benched, settings))
    return benched.scores
