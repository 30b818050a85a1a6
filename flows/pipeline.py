"""The whole method, in order: prepare, distil, cold-start, sample, optimise, evaluate, promote.

What is unchanged is not redone: each stage finds its artifacts by its key. Run it with `thinkreward run`, or deployed,
with its schedule, as nightly/default.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from prefect import flow

from configs.forms import Form, complete
from configs.schema import Settings
from flows.cold_start import cold_start
from flows.distill import distill
from flows.evaluate_model import evaluate
from flows.grpo import grpo
from flows.prepare import prepare
from flows.promote import promote
from flows.rejection_sampling import rejection_sampling
from tasks.data.ingesting import archive_inbox, ingest_inbox
from tasks.ops.fitting import check_stages_fit
from tasks.orchestration.compute import compute_planned, plan_stage
from tasks.orchestration.dispatch import dispatch_to_work_pool, here
from tasks.orchestration.run_pages import best_effort, name_by_time
from tasks.orchestration.summary import ask_for_approval, summarise
from tasks.orchestration.worker_process import init_worker_process
from tasks.pipeline.graph import RECIPE, StageName
from tasks.pipeline.plan import Planner, StagePlan, check_trainable
from tasks.pipeline.retries import call_with_retries
from tasks.pipeline.run import StageResult, open_store

STAGE_FLOWS = {
    "prepare": prepare,
    "distill": distill,
    "cold-start": cold_start,
    "rejection-sampling": rejection_sampling,
    "grpo": grpo,
    "evaluate": evaluate,
    "promote": promote,
}
ELSEWHERE = ("profile", "seed", "storage", "tracking", "serve")  # of no run, or of its environment
FORM = Form(*(name for name in Settings.model_fields if name not in ELSEWHERE))


@flow(validate_parameters=False)
def run_planned(plan: StagePlan, settings: Settings, refresh: bool) -> StageResult:
    """A stage in a flow run of its own, under the name of the stage's flow."""
    return compute_planned(plan, settings, refresh)


@flow(name="nightly")  # the name of its runs, and of its deployment nightly/default
def train_pipeline(
    settings: Annotated[Settings, FORM] = FORM.defaults,
    stages: Sequence[StageName] = RECIPE,
    refresh: Sequence[StageName] = (),
) -> list[StageResult]:
    """Ingest the submissions in the inbox, run the stages in the method's order reusing what is unchanged, and sum up.

    Args:
        settings: what to run with; what is left out is as in the profile
        stages: the stages to run
        refresh: stages to compute again even if nothing changed
    """
    settings = complete(settings)
    check_trainable(settings, stages)
    init_worker_process()
    best_effort(partial(name_by_time, settings))
    ask = partial(call_with_retries, settings)
    ask(lambda: check_stages_fit(settings, here(stages), again=refresh))
    ingested = ask(partial(ingest_inbox, settings)) if "prepare" in stages else None
    planner = Planner(open_store(settings), settings)
    changed: dict[str, str] = {}
    results: list[StageResult] = []
    for name in RECIPE:
        if name in stages:
            again = name in refresh
            plan = plan_stage(planner, settings, name)
            changed[name] = "refreshed" if again else plan.reason
            remote = ask(partial(dispatch_to_work_pool, plan, settings, again))
            results.append(remote or run_planned.with_options(name=name)(plan, settings, again))
            if results[-1].state != "cached":
                planner.changed(name)
            if ingested and name == "prepare":
                archive_inbox(settings, ingested, results[-1])
    ask(partial(ask_for_approval, settings, results))
    ask(partial(summarise, settings, ingested, changed, results))
    return results
