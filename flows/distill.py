"""Stage `distill`: reasoning from a teacher, kept only if it is whole and right (paper section 3.2).

Run it with `thinkreward distill`, or deployed with `prefect deployment run distill/default --watch`.
"""

from collections.abc import Mapping
from typing import Annotated

from prefect import flow

from configs.schema import Settings
from tasks.orchestration.compute import compute
from tasks.pipeline.graph import STAGES
from tasks.pipeline.pinning import Pins
from tasks.pipeline.run import StageResult

FORM = STAGES["distill"].form


@flow(name="distill")
def distill(
    settings: Annotated[Settings, FORM] = FORM.defaults,
    inputs: Annotated[Mapping[str, str], Pins("distill")] = {},
    build_missing: bool = False,
    refresh: bool = False,
) -> StageResult:
    """Reasoning from a teacher, kept only if it is whole and its answer equals the label (paper section 3.2).

    Args:
        settings: what to run with; what is left out is as in the profile
        inputs: artifacts in place of the latest upstream ones
        build_missing: first run the stages before it that have no result yet
        refresh: compute again even if nothing changed
    """
    return compute("distill", settings, refresh, inputs, build_missing)
