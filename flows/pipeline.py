"""The whole method, in order: prepare, distil, cold-start, sample, optimise, evaluate, promote.

What is unchanged is not redone: each stage finds its artifacts by its key. Run it with `thinkreward run`.
"""

from collections.abc import Sequence

from prefect import flow

from configs.schema import Settings
from flows.cold_start import cold_start
from flows.distill import distill
from flows.evaluate_model import evaluate
from flows.grpo import grpo
from flows.prepare import prepare
from flows.promote import promote
from flows.rejection_sampling import rejection_sampling
from tasks.stages import StageResult

METHOD = {
    "prepare": prepare,
    "distill": distill,
    "cold-start": cold_start,
    "rejection-sampling": rejection_sampling,
    "grpo": grpo,
    "evaluate": evaluate,
    "promote": promote,
}


@flow(name="nightly", flow_run_name="nightly-{settings.profile}")
def nightly(
    settings: Settings, stages: Sequence[str] = tuple(METHOD), refresh: Sequence[str] = ()
) -> list[StageResult]:
    """Run the stages asked for in the method's order, reusing what is unchanged."""
    return [stage(settings, refresh=name in refresh) for name, stage in METHOD.items() if name in stages]
