"""Stage `grpo`: optimise on what rejection sampling still got wrong (paper section 3.4).

Run it with `thinkreward grpo`, on the newest upstream artifacts for its settings.
"""

from prefect import flow

from configs.schema import Settings
from tasks.orchestration import compute
from tasks.stages import StageResult


@flow(name="grpo", flow_run_name="grpo-{settings.profile}", log_prints=False)
def grpo(settings: Settings, refresh: bool = False) -> StageResult:
    """Optimise on what rejection sampling still got wrong (paper section 3.4)."""
    return compute("grpo", settings, refresh)
