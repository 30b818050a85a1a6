"""Flow runs that nobody hears of any more, and that still hold a place in their work pool.

The automation that `thinkreward stack setup` makes marks a run as crashed soon after its last heartbeat. It may miss
one: when the server was away itself, or its database refused the record. Such a run would keep its place for ever.
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
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from tasks.retries import run_logger

HEARTBEAT = "prefect.flow-run.heartbeat"
SILENT_S = 300.0  # ten heartbeats of 30 s; the automation takes three


def end_silent_runs(client: SyncPrefectClient, pool: str) -> list[str]:
    """Mark the running flow runs of a pool as crashed that gave no sign of life for `SILENT_S`; their names."""
    running = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=running),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
    )
    ended = []
    for run in found:
        if _is_silent(client, run):
            message = f"No sign of life for {SILENT_S:g} s: its worker or machine is gone. Run it again: it resumes."
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            run_logger().warning("flow run %s is silent for %g s: marked as crashed", run.name, SILENT_S)
            ended.append(run.name)
    return ended


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
