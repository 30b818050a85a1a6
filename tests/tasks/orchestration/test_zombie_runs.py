"""Flow runs in states that a death at the wrong moment leaves behind, forced on a real Prefect server."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, FlowRun, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Pending

from tasks.orchestration import dispatch
from tasks.orchestration import zombie_runs as silent
from tasks.orchestration.zombie_runs import free_pending_runs
from tasks.stack.automations import NOT_STARTED
from tasks.stack.prefect_setup import prepare, wanted_pools
from tests.tasks.seaweed import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server with all its services, set up with pools and automations that act after seconds."""
    folder, (port,) = tmp_path_factory.mktemp("prefect"), free_ports(1)
    address = f"http://127.0.0.1:{port}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    own = {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "1",
        "DO_NOT_TRACK": "true",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env={**kept, **own}, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: answers(f"{address}/api/ready"), "the server is ready", 120)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tasks.stack.automations.NOT_STARTED_S", 15)
            prepare(f"{address}/api", wanted_pools(), {}, lambda _: None)
        yield f"{address}/api"
    finally:
        server.terminate()
        server.wait(30)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def until(holds: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.2)


@pytest.fixture
def client(api: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        yield client


def deployed(client: SyncPrefectClient, name: str) -> UUID:
    """The deployment `name`, made or, as `prefect deploy` does it, made again; one run at a time, as the nightly."""
    queueing = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
    flow = client.create_flow_from_name("nightly")
    return client.create_deployment(
        flow, name, work_pool_name="cpu", concurrency_limit=1, concurrency_options=queueing,
        schedules=[DeploymentScheduleCreate(schedule=CronSchedule(cron="* * * * *"), active=True)],
    )  # fmt: skip


def started(client: SyncPrefectClient, deployment: UUID, name: str) -> UUID:
    return client.create_flow_run_from_deployment(deployment, name=name).id


def taken(client: SyncPrefectClient, run: UUID) -> bool:
    """What a worker does first; whether it may go on and start the run."""
    return client.set_flow_run_state(run, Pending()).state.type == StateType.PENDING  # type: ignore[union-attr]


def offered(client: SyncPrefectClient) -> set[UUID]:
    """What a worker of the pool would take now."""
    answer = client.request(
        "POST",
        "/work_pools/{name}/get_scheduled_flow_runs",
        path_params={"name": "cpu"},
        json={"scheduled_before": datetime.now(UTC).isoformat()},
    )
    return {UUID(one["flow_run"]["id"]) for one in answer.raise_for_status().json()}


def at(client: SyncPrefectClient, run: UUID) -> FlowRun:
    return client.read_flow_run(run)


def test_a_run_that_its_worker_never_started_gives_its_place_back_and_is_scheduled_again_once(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = deployed(client, "stuck")
    stuck, next_one = started(client, deployment, "stuck"), started(client, deployment, "next")
    assert taken(client, stuck)
    assert not taken(client, next_one)  # the deployment's one place is held by a dead worker
    assert free_pending_runs(client, "cpu") == []  # it may only be slow
    monkeypatch.setitem(silent.PENDING_S, "process", 0.1)
    time.sleep(0.3)
    assert free_pending_runs(client, "cpu") == ["stuck"]
    assert at(client, stuck).state_type == StateType.SCHEDULED
    assert stuck in offered(client)
    assert taken(client, stuck)  # and its worker dies again
    time.sleep(0.3)
    assert free_pending_runs(client, "cpu") == ["stuck"]
    assert at(client, stuck).state_type == StateType.CRASHED
    assert taken(client, next_one)
    client.delete_flow_run(next_one)


def test_a_nightly_that_waits_for_a_run_that_was_never_started_has_it_scheduled_again(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "PATIENCE_S", 0.5)
    monkeypatch.setitem(silent.PENDING_S, "process", 0.1)
    run = started(client, deployed(client, "awaited"), "awaited")
    assert taken(client, run)
    waiting = threading.Thread(target=dispatch._until_final, args=(client, at(client, run), "awaited"), daemon=True)
    waiting.start()
    until(lambda: at(client, run).state_type == StateType.SCHEDULED, "it is scheduled again")
    said = str(at(client, run).state.message)  # type: ignore[union-attr]
    client.set_flow_run_state(run, Completed(), force=True)
    waiting.join(60)
    assert not waiting.is_alive()
    assert "within 0.1 s" in said  # by the one that waits, before the automation's 15 s


def nightly(client: SyncPrefectClient, name: str) -> UUID:
    """A deployment with a schedule that made a run for an hour ago, when nobody was there to take it; that run's id."""
    deployment = deployed(client, name)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    asked = {"start_time": hour_ago.isoformat(), "end_time": (hour_ago + timedelta(minutes=2)).isoformat()}
    client.request(
        "POST", "/deployments/{id}/schedule", path_params={"id": str(deployment)}, json={**asked, "max_runs": 1}
    ).raise_for_status()
    of_it = {"deployments": {"id": {"any_": [str(deployment)]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 1}
    (late,) = client.request("POST", "/flow_runs/filter", json=of_it).json()
    until(lambda: at(client, UUID(late["id"])).state.name == "Late", "the run is late")  # type: ignore[union-attr]
    return UUID(late["id"])


def test_a_late_nightly_outlives_a_new_set_up_and_deployment_and_is_taken(client: SyncPrefectClient, api: str) -> None:
    """Of a deployment that is made again Prefect deletes what its schedule has yet to run, not what is late."""
    late = nightly(client, "renewed")
    due = at(client, late).expected_start_time
    prepare(api, wanted_pools(), {}, lambda _: None)
    deployed(client, "renewed")
    assert at(client, late).expected_start_time == due
    assert late in offered(client)
    assert taken(client, late)
    client.delete_flow_run(late)


def test_the_automation_frees_the_place_where_nobody_looks(client: SyncPrefectClient, api: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.stack.automations.NOT_STARTED_S", 15)
        prepare(api, wanted_pools(), {}, lambda _: None)
    found = client.request("POST", "/automations/filter", json={}).json()
    assert NOT_STARTED in {one["name"] for one in found}
    run = started(client, deployed(client, "automated"), "automated")
    assert taken(client, run)
    until(lambda: at(client, run).state_type == StateType.SCHEDULED, "it is scheduled again", 90)
    until(lambda: run in offered(client), "a worker would take it", 30)
