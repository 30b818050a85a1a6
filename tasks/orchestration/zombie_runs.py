"""Flow runs that nobody works on any more, and that still hold a place in a work pool or their deployment's only one.

Two kinds. A run that is RUNNING and gives no sign of life: the automation that `thinkreward stack setup` makes marks it
as crashed soon after its last heartbeat, but may miss one, when the server was away itself or its database refused the
record. And a run that is PENDING since a worker took it and died before it had started a process: no heartbeat was ever
expected of it. That one has done nothing yet, so it is scheduled again, once; the second time it is marked as crashed.
"""

from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed, Scheduled

from tasks.pipeline.retries import run_logger

HEARTBEAT = "prefect.flow-run.heartbeat"
SILENT_S = 300.0  # ten heartbeats of 30 s; the automation takes three
# From PENDING to RUNNING a process takes some 20 s; a pod may have to wait for a node and pull an image first.
PENDING_S = {"process": 600.0}
PENDING_ELSEWHERE_S = 3600.0
PAGE = 200  # of flow runs, which is what Prefect's server gives at once


def end_silent_runs(client: SyncPrefectClient, pool: str) -> list[str]:
    """Mark the running flow runs of a pool as crashed that gave no sign of life for `SILENT_S`; their names.

    Those that are stuck before their start are freed as well (`free_pending_runs`).
    """
    ended = []
    for run in _in_state(client, pool, StateType.RUNNING):
        if _is_silent(client, run):
            message = f"No sign of life for {SILENT_S:g} s: its worker or machine is gone. Run it again: it resumes."
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            run_logger().warning("flow run %s is silent for %g s: marked as crashed", run.name, SILENT_S)
            ended.append(run.name)
    return ended + free_pending_runs(client, pool)


def free_pending_runs(client: SyncPrefectClient, pool: str) -> list[str]:
    """Schedule the runs of a pool again whose worker took them and never started them; their names.

    A second worker may start one that was only slow: of two that compute one stage, one waits for the other's result.
    """
    limit_s = PENDING_S.get(client.read_work_pool(pool).type, PENDING_ELSEWHERE_S)
    freed = []
    for run in _in_state(client, pool, StateType.PENDING):
        if run.state is None or run.state.timestamp > datetime.now(UTC) - timedelta(seconds=limit_s):
            continue
        taken = sum(state.type == StateType.PENDING for state in client.read_flow_run_states(run.id))
        what = f"taken by a worker that did not start it within {limit_s:g} s"
        state: State = Scheduled(message=f"{what}: scheduled again") if taken < 2 else Crashed(message=f"twice {what}")
        client.set_flow_run_state(run.id, state, force=True)
        run_logger().warning("flow run %s was %s: %s", run.name, what, "scheduled again" if taken < 2 else "crashed")
        freed.append(run.name)
    return freed


def _in_state(client: SyncPrefectClient, pool: str, kind: StateType) -> list[FlowRun]:
    """All flow runs of a pool in a state."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[kind])))
    of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(flow_run_filter=wanted, work_pool_filter=of_pool, limit=PAGE, offset=len(found))
        found += page
        if len(page) < PAGE:
            return found


def _is_silent(client: SyncPrefectClient, run: FlowRun) -> bool:
    since = datetime.now(UTC) - timedelta(seconds=SILENT_S)
    if run.state is None or run.state.timestamp > since:
        return False
    asked = {
        "event": {"name": [HEARTBEAT]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
        "occurred": {"since": since.isoformat()},
    }
    answer = client.request("POST", "/events/filter", json={"filter": asked, "limit": 1})
    answer.raise_for_status()
    return not answer.json()["events"]
