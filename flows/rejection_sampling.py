"""Stage `rejection-sampling`: sample all four tasks, keep what is right, fine-tune on it (paper section 3.3).

Run it with `thinkreward rejection-sampling`, on the newest upstream artifacts for its settings.
"""

from prefect import flow

from configs.schema import Settings
from tasks.orchestration import compute
from tasks.stages import StageResult


@flow(name="rejection-sampling", flow_run_name="rejection-sampling-{settings.profile}", log_prints=False)
def rejection_sampling(settings: Settings, refresh: bool = False) -> StageResult:
    """Sample all four tasks, keep what is right, fine-tune on it (paper section 3.3)."""
    return compute("rejection-sampling", settings, refresh)
