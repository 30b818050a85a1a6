"""Stage `rejection-sampling`: sample all four tasks, keep what is right, fine-tune on it (paper section 3.3).

Run it with `thinkreward rejection-sampling`, or deployed with
`prefect deployment run rejection-sampling/default --watch`.
"""

from collections.abc import Mapping
from typing import Annotated

from prefect import flow

from configs.schema import Settings
from tasks.orchestration.compute import compute
from tasks.pipeline.graph import STAGES
from tasks.pipeline.pinning import Pins
from tasks.pipeline.run import StageResult

FORM = STAGES["rejection-sampling"].form


@flow(name="rejection-sampling")
def rejection_sampling(
    settings: Annotated[Settings, FORM] = FORM.defaults,
    inputs: Annotated[Mapping[str, str], Pins("rejection-sampling")] = {},
    build_missing: bool = False,
    refresh: bool = False,
) -> StageResult:
    """Sample all four tasks, keep what is right, fine-tune on it (paper section 3.3).

    Args:
        settings: what to run with; what is left out is as in the profile
        inputs: artifacts in place of the latest upstream ones
        build_missing: first run the stages before it that have no result yet
        refresh: compute again even if nothing changed
    """
    return compute("rejection-sampling", settings, refresh, inputs, build_missing)
