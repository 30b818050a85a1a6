"""Stage `prepare`: the preference data of all four tasks in one schema, with a train and a held-out split.

Run it with `thinkreward prepare`, on the newest upstream artifacts for its settings.
"""

from prefect import flow

from configs.schema import Settings
from tasks.orchestration import compute
from tasks.stages import StageResult


@flow(name="prepare", flow_run_name="prepare-{settings.profile}", log_prints=False)
def prepare(settings: Settings, refresh: bool = False) -> StageResult:
    """The preference data of all four tasks in one schema, with a train and a held-out split."""
    return compute("prepare", settings, refresh)
