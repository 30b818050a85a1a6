"""Stage `promote`: register the model; the alias champion moves only if the gate holds.

Run it with `thinkreward promote`, or deployed with `prefect deployment run promote/default --watch`.
"""

from collections.abc import Mapping
from typing import Annotated

from prefect import flow

from configs.schema import Settings
from tasks.orchestration.compute import compute
from tasks.pipeline.graph import STAGES
from tasks.pipeline.pinning import Pins
from tasks.pipeline.run import StageResult

FORM = STAGES["promote"].form


@flow(name="promote")
def promote(
    settings: Annotated[Settings, FORM] = FORM.defaults,
    inputs: Annotated[Mapping[str, str], Pins("promote")] = {},
    build_missing: bool = False,
    refresh: bool = False,
) -> StageResult:
    """Register the model; the alias champion moves only if the gate holds.

    Args:
        settings: what to run with; what is left out is as in the profile
        inputs: artifacts in place of the latest upstream ones
        build_missing: first run the stages before it that have no result yet
        refresh: compute again even if nothing changed
    """
    return compute("promote", settings, refresh, inputs, build_missing)
