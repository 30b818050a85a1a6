"""Stage `evaluate`: judge the held-out pairs with every stage's model and write the report.

Run it with `thinkreward evaluate`, on the newest upstream artifacts for its settings.
"""

from prefect import flow

from configs.schema import Settings
from tasks.orchestration import compute
from tasks.stages import StageResult


@flow(name="evaluate", flow_run_name="evaluate-{settings.profile}", log_prints=False)
def evaluate(settings: Settings, refresh: bool = False) -> StageResult:
    """Judge the held-out pairs with every stage's model and write the report."""
    return compute("evaluate", settings, refresh)
