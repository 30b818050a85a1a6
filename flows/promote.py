"""Stage `promote`: register the model; the alias champion moves only if the gate holds.

Run it with `thinkreward promote`, on the newest upstream artifacts for its settings.
"""

from prefect import flow

from configs.schema import Settings
from tasks.orchestration import compute
from tasks.stages import StageResult


@flow(name="promote", flow_run_name="promote-{settings.profile}", log_prints=False)
def promote(settings: Settings, refresh: bool = False) -> StageResult:
    """Register the model; the alias champion moves only if the gate holds."""
    return compute("promote", settings, refresh)
