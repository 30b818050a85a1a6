"""Stage `cold-start`: fine-tune the base on the distilled reasoning (paper section 3.2).

Run it with `thinkreward cold-start`, or deployed with `prefect deployment run cold-start/default --watch`.
"""

from collections.abc import Mapping
from typing import Annotated

from prefect import flow

from configs.schema import Settings
from tasks.orchestration.compute import compute
from tasks.pipeline.graph import STAGES
from tasks.pipeline.pinning import Pins
from tasks.pipeline.run import StageResult

FORM = STAGES["cold-start"].form


@flow(name="cold-start")
def cold_start(
    settings: Annotated[Settings, FORM] = FORM.defaults,
    inputs: Annotated[Mapping[str, str], Pins("cold-start")] = {},
    build_missing: bool = False,
    refresh: bool = False,
) -> StageResult:
    """Fine-tune the base on the distilled reasoning (paper section 3.2).

    Args:
        settings: what to run with; what is left out is as in the profile
        inputs: artifacts in place of the latest upstream ones
        build_missing: first run the stages before it that have no result yet
        refresh: compute again even if nothing changed
    """
    return compute("cold-start", settings, refresh, inputs, build_missing)
