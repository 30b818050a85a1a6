"""The base model in the store, before the stages that stand on it."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.schema import Settings
from tasks.orchestration.run_pages import progress_lines
from tasks.pipeline.plan import StagePlan
from tasks.pipeline.retries import run_logger
from tasks.pipeline.run import StageResult, Watch, run_step


def logged_watch() -> Watch:
    """A watch for runs that nobody sits before."""
    log = run_logger().info
    return Watch(log=log, progress=progress_lines(log))


@task(name="base", task_run_name="base", cache_policy=NO_CACHE, log_prints=False)
def publish_base(plan: StagePlan, settings: Settings) -> StageResult:
    """Publish the base model, so that later digests stand on its bytes."""
    return run_step(plan, settings, watch=logged_watch())
