"""Stage `distill`: reasoning from a teacher, kept only if it is whole and right (paper section 3.2).

Run it with `thinkreward distill`, on the newest upstream artifacts for its settings.
"""

from prefect import flow

from configs.schema import Settings
from tasks.orchestration import compute
from tasks.stages import StageResult


@flow(name="distill", flow_run_name="distill-{settings.profile}", log_prints=False)
def distill(settings: Settings, refresh: bool = False) -> StageResult:
    """Reasoning from a teacher, kept only if it is whole and its answer equals the label (paper section 3.2)."""
    return compute("distill", settings, refresh)
