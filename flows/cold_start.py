"""Stage `cold-start`: fine-tune the base on the distilled reasoning (paper section 3.2).

Run it with `thinkreward cold-start`, on the newest upstream artifacts for its settings.
"""

from prefect import flow

from configs.schema import Settings
from tasks.orchestration import compute
from tasks.stages import StageResult


@flow(name="cold-start", flow_run_name="cold-start-{settings.profile}", log_prints=False)
def cold_start(settings: Settings, refresh: bool = False) -> StageResult:
    """Fine-tune the base on the distilled reasoning (paper section 3.2)."""
    return compute("cold-start", settings, refresh)
