"""A stage on another work pool: the nightly runs where CPUs are and has training and sampling done where GPUs are.

Which pool computes a stage is decided in one place, deployments/prefect.yaml. A run that came from no deployment, such
as the command line's, has no other pool and computes everything itself.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import httpx
from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelling

from configs.schema import Settings
from models.errors import ConfigError, StageFailed, StageKilled
from tasks.orchestration.zombie_runs import end_silent_runs
from tasks.pipeline.graph import STAGES
from tasks.pipeline.plan import StagePlan
from tasks.pipeline.retries import run_logger, with_retries
from tasks.pipeline.run import StageResult, load_result, open_store

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

DEPLOYMENT = "default"
POLL_S = 1.0
PATIENCE_S = 120.0  # after which a warning is logged that no worker has started the run


def dispatch_to_work_pool(plan: StagePlan, settings: Settings, refresh: bool = False) -> StageResult | None:
    """The stage's result from its own deployment's work pool; None if it is this run's to compute, or cached.

    The other run receives the inputs of this plan, and plans for itself what it computes from them. Raises
    `StageFailed` with the other run's message, `StageKilled` if it crashed. Cancelled, it cancels that run.
    """
    name, stage = plan.name, plan.stage
    if (plan.cached and not refresh) or not _has_another_pool(name, warn=True):
        return None
    own = {at for at, source in stage.inputs.items() if source.stage == "base" or STAGES[source.stage].part_of == name}
    pins = {at: f"{ref.kind}/{ref.digest}" for at, ref in plan.inputs.items() if at in stage.inputs and at not in own}
    started = time.monotonic()
    # How a stage uses a machine is decided by the environment of its own worker.
    of_stage = {section: values for section, values in stage.form.part(settings).items() if section != "runtime"}
    parameters = {"settings": of_stage, "inputs": pins, "refresh": refresh}
    with_retries(run_there, settings)(name, parameters)
    return load_result(open_store(settings), settings, plan, started)


def start_run(deployment: str, parameters: Mapping[str, Any], *, key: str, below: bool = True) -> "FlowRun":
    """Have a deployment run, `below` the current run or on its own; the run that is there if `key` was used before."""
    started = run_deployment(deployment, parameters=dict(parameters), timeout=0, idempotency_key=key, as_subflow=below)
    return cast("FlowRun", started)  # typed for asynchronous callers too


def here(names: Iterable[str]) -> list[str]:
    """Those of the stages that this run computes itself, on the devices of this machine."""
    return [name for name in names if not _has_another_pool(name)]


def _has_another_pool(name: str, *, warn: bool = False) -> bool:
    if not runtime.deployment.id:
        return False
    with get_client(sync_client=True) as client:
        own = client.read_deployment(UUID(str(runtime.deployment.id)))
        try:
            other = client.read_deployment_by_name(f"{name}/{DEPLOYMENT}")
        except ObjectNotFound:
            if warn:
                run_logger().warning("%s is not deployed and runs here: `thinkreward stack setup` deploys all", name)
            return False
        if other.work_pool_name is None:
            raise ConfigError(
                f"the work pool of {name}/{DEPLOYMENT} does not exist any more, so nobody would take its run: "
                "`thinkreward stack setup` makes it again"
            )
        return other.work_pool_name != own.work_pool_name


@task(name="elsewhere", task_run_name="{name} elsewhere", cache_policy=NO_CACHE, persist_result=False)
def run_there(name: str, parameters: Mapping[str, Any]) -> None:
    """Run a stage's deployment and wait for its end. Each attempt is a run of its own, which resumes from the store."""
    deployment = f"{name}/{DEPLOYMENT}"
    attempt = f"{runtime.flow_run.id}-{runtime.flow_run.run_count}-{runtime.task_run.run_count}"
    run = start_run(deployment, parameters, key=f"{attempt}-{name}")
    logger = run_logger()
    logger.info("%s runs as flow run %s of deployment %s", name, run.name, deployment)
    with get_client(sync_client=True) as client:
        try:
            ended = _until_final(client, run, deployment)
        except BaseException:  # cancelled, timed out, interrupted: nothing goes on without us
            with suppress(Exception):
                client.set_flow_run_state(run.id, Cancelling(message="the run that asked for it has ended"))
            raise
    state = ended.state
    if state is None or not state.is_completed():
        what = f"{name} ended {state.name if state else 'without a state'} in flow run {ended.name}"
        kind = StageKilled if state is not None and state.is_crashed() else StageFailed
        raise kind(f"{what}: {state.message if state else 'look into its logs'}")


def _until_final(client: SyncPrefectClient, run: "FlowRun", deployment: str) -> "FlowRun":
    started, warned = time.monotonic(), False
    looked = started
    while True:
        now = _looked_up(client, run)
        if now.state is not None and now.state.is_final():
            return now
        # Pending too: the worker that took it may have died before it started a process.
        waits = now.state is not None and (now.state.is_scheduled() or now.state.is_pending())
        if waits and not warned and time.monotonic() - started > PATIENCE_S:
            warned = True
            run_logger().warning(
                "no worker has started flow run %s of %s for %d s: is a worker of pool %s running?",
                run.name, deployment, PATIENCE_S, now.work_pool_name,
            )  # fmt: skip
        if waits and time.monotonic() - looked > PATIENCE_S and now.work_pool_name:
            looked = time.monotonic()
            with suppress(httpx.HTTPError, PrefectHTTPStatusError):
                end_silent_runs(client, now.work_pool_name)  # one may hold the place that this one waits for
        time.sleep(POLL_S)


def _looked_up(client: SyncPrefectClient, run: "FlowRun") -> "FlowRun":
    """The run as it is now; as it was, while Prefect's server is away: the run goes on, and so does the waiting."""
    try:
        return client.read_flow_run(run.id)
    except httpx.TransportError as error:
        run_logger().warning("Prefect's server does not answer (%s): waiting on", error)
    except PrefectHTTPStatusError as error:
        if error.response.status_code < 500:
            raise
        run_logger().warning("Prefect's server answers %d: waiting on", error.response.status_code)
    return run
