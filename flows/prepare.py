"""Stage `prepare`: the preference data of all four tasks in one schema, with a train and a held-out split.

Run it with `thinkreward prepare`, or deployed with `prefect deployment run prepare/default --watch`.
"""

from collections.abc import Mapping
from typing import Annotated

from prefect import flow

from configs.schema import Settings
from tasks.orchestration.compute import compute
from tasks.pipeline.graph import STAGES
from tasks.pipeline.pinning import Pins
from tasks.pipeline.run import StageResult

FORM = STAGES["prepare"].form


@flow(name="prepare")
def prepare(
    settings: Annotated[Settings, FORM] = FORM.defaults,
    inputs: Annotated[Mapping[str, str], Pins("prepare")] = {},
    build_missing: bool = False,
    refresh: bool = False,
) -> StageResult:
    """The preference data of all four tasks in one schema, with a train and a held-out split.

    Args:
        settings: what to run with; what is left out is as in the profile
        inputs: artifacts in place of the latest upstream ones
        build_missing: first run the stages before it that have no result yet
        refresh: compute again even if nothing changed
    """
    return compute("prepare", settings, refresh, inputs, build_missing)
