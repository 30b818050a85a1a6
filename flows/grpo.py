"""Stage `grpo`: optimise on what rejection sampling still got wrong (paper section 3.4).

Run it with `thinkreward grpo`, or deployed with `prefect deployment run grpo/default --watch`.
"""

from collections.abc import Mapping
from typing import Annotated

from prefect import flow

from configs.schema import Settings
from tasks.orchestration.compute import compute
from tasks.pipeline.graph import STAGES
from tasks.pipeline.pinning import Pins
from tasks.pipeline.run import StageResult

FORM = STAGES["grpo"].form


@flow(name="grpo")
def grpo(
    settings: Annotated[Settings, FORM] = FORM.defaults,
    inputs: Annotated[Mapping[str, str], Pins("grpo")] = {},
    build_missing: bool = False,
    refresh: bool = False,
) -> StageResult:
    """Optimise on what rejection sampling still got wrong (paper section 3.4).

    Args:
        settings: what to run with; what is left out is as in the profile
        inputs: artifacts in place of the latest upstream ones
        build_missing: first run the stages before it that have no result yet
        refresh: compute again even if nothing changed
    """
    return compute("grpo", settings, refresh, inputs, build_missing)
