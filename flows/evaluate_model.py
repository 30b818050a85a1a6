"""Stage `evaluate`: judge the held-out pairs with every stage's model and write the report.

Run it with `thinkreward evaluate`, or deployed with `prefect deployment run evaluate/default --watch`.
"""

from collections.abc import Mapping
from typing import Annotated

from prefect import flow

from configs.schema import Settings
from tasks.orchestration.compute import compute
from tasks.pipeline.graph import STAGES
from tasks.pipeline.pinning import Pins
from tasks.pipeline.run import StageResult

FORM = STAGES["evaluate"].form


@flow(name="evaluate")
def evaluate(
    settings: Annotated[Settings, FORM] = FORM.defaults,
    inputs: Annotated[Mapping[str, str], Pins("evaluate")] = {},
    build_missing: bool = False,
    refresh: bool = False,
) -> StageResult:
    """Judge the held-out pairs with every stage's model and write the report.

    Args:
        settings: what to run with; what is left out is as in the profile
        inputs: artifacts in place of the latest upstream ones
        build_missing: first run the stages before it that have no result yet
        refresh: compute again even if nothing changed
    """
    return compute("evaluate", settings, refresh, inputs, build_missing)
