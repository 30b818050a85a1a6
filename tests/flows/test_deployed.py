"""The deployed flows on real servers: S3, MLflow, Prefect and two workers, as `thinkreward stack up` starts them."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.data.inbox.records import INBOX
from tasks.orchestration.zombie_runs import end_silent_runs
from tasks.pipeline.graph import RECIPE
from tasks.stack.state import BUCKET
from tasks.store.artifacts import Store
from tasks.store.objects.base import Source, hash_file
from tasks.store.objects.opening import open_objects
from tasks.tracking.registry import get_alias
from tests.flows.prefect_form import needs_chromium, run_form
from tests.proofs.local_stack import LocalStack
from tests.tasks.shapes_drop import write_drop

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(1200)]
TEACHER_KEY = "sk-this-key-must-never-be-written-down"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    folder = tmp_path_factory.mktemp("services")
    teacher = {"OPENAI_API_KEY": TEACHER_KEY, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    with LocalStack(folder, secrets=teacher, nightly__inbox_quiet_s=0.0) as stack:
        yield stack


@pytest.fixture(scope="module")
def whole(stack: LocalStack) -> dict[str, dict[str, str]]:
    """The digests of a nightly that ran from nothing."""
    said = stack.command("prefect", "deployment", "run", "nightly/default", "--watch")
    assert "Completed" in said.stdout
    return {stage: stack.digests(stage) for stage in RECIPE}


def artifacts(stack: LocalStack, key: str) -> list[dict[str, Any]]:
    """What the Prefect UI shows under a key, newest first."""
    found: list[dict[str, Any]] = stack.api(
        "POST", "artifacts/filter", artifacts={"key": {"any_": [key]}}, sort="CREATED_DESC"
    )
    return found


def entries(store: Store) -> set[tuple[str, str]]:
    return {(entry.stage, entry.key) for entry in store.entries()}


def test_the_nightly_computes_every_stage_into_s3(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    assert stack.settings.storage.root.startswith("s3://")
    assert set(whole) == set(RECIPE)
    assert "# 7 of 7 stages ran" in artifacts(stack, "nightly-summary")[0]["data"]


def test_training_and_sampling_went_to_the_gpu_pool(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    runs = stack.api("POST", "flow_runs/filter", sort="START_TIME_DESC")
    names = {run["name"].split("-shapes-")[0]: run["work_pool_name"] for run in runs if "-shapes-" in run["name"]}
    assert {name for name, pool in names.items() if pool == "gpu"} == {"cold-start", "rejection-sampling", "grpo"}
    assert names["nightly"] == "cpu"


def test_a_run_page_has_a_readable_name_and_links(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    key = stack.store().entries("grpo")[0].key
    runs = stack.api("POST", "flow_runs/filter", flow_runs={"name": {"any_": [f"grpo-shapes-{key[:8]}"]}})
    assert runs
    assert {"stage:grpo", f"key:{key[:8]}"} <= set(runs[0]["tags"])
    shown = artifacts(stack, "stage-grpo")[0]["data"]
    assert whole["grpo"]["model"] in shown
    assert f"]({stack.settings.tracking.uri}/#/experiments/" in shown


def test_a_consumer_loads_the_registered_model_from_s3(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    program = (
        "import mlflow; judge = mlflow.pyfunc.load_model('models:/thinkreward@challenger'); "
        "print(judge.metadata.metadata['model'])"
    )
    assert stack.command("python", "-c", program).stdout.strip().endswith(whole["grpo"]["model"])


def test_a_nightly_with_nothing_new_is_a_no_op(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    before = entries(stack.store())
    ended = stack.wait(stack.start("nightly/default"))  # how fast it is, tests/proofs/warm_nightly.py measures
    assert ended["state_type"] == "COMPLETED"
    assert entries(stack.store()) == before
    assert "Nothing new" in artifacts(stack, "nightly-summary")[0]["data"]


def test_grpo_alone_runs_grpo_alone(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    before = entries(stack.store())
    changed = json.dumps({"grpo": {"learning_rate": 2e-4}})
    stack.command("prefect", "deployment", "run", "grpo/default", "--watch", "-p", f"settings={changed}")
    new = entries(stack.store()) - before
    assert {stage for stage, _ in new} == {"grpo"}


def test_a_pinned_input_is_taken_in_place_of_the_latest(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    pins = {"model": f"model/{whole['cold-start']['model'][:12]}"}
    ended = stack.wait(stack.start("grpo/default", inputs=pins))
    assert ended["state_type"] == "COMPLETED"
    assert stack.store().entries("grpo")[0].inputs["model"].digest == whole["cold-start"]["model"]


def test_a_missing_upstream_says_which_deployment_to_run(stack: LocalStack) -> None:
    run = stack.start("distill/default", settings={"seed": 3})
    assert stack.wait(run)["state_type"] == "FAILED"
    assert "`prefect deployment run prepare/default`" in stack.logs(run)
    assert "build_missing=true" in stack.logs(run)


def test_a_missing_upstream_is_built_where_that_is_asked_for(stack: LocalStack) -> None:
    ended = stack.wait(stack.start("distill/default", settings={"seed": 3}, build_missing=True))
    assert ended["state_type"] == "COMPLETED"


def test_wrong_values_are_refused_before_a_run_exists(stack: LocalStack) -> None:
    wrong = json.dumps({"grpo": {"learning_rate": -1}})
    refused = stack.command("prefect", "deployment", "run", "grpo/default", "-p", f"settings={wrong}", check=False)
    assert refused.returncode != 0
    assert "learning_rate" in refused.stdout + refused.stderr


@needs_chromium
def test_the_form_in_the_browser_refuses_a_wrong_value_and_starts_a_run_with_a_changed_one(
    stack: LocalStack, whole: dict[str, dict[str, str]]
) -> None:
    deployment = stack.api("GET", "deployments/name/grpo/default")["id"]
    ui = stack.environment["PREFECT_API_URL"].removesuffix("/api")
    with run_form(ui, deployment) as form:
        assert float(form.field("Learning Rate")) == stack.settings.grpo.learning_rate
        assert form.field("Group") == "4"
        form.describes("completions a prompt (paper: 8)")
        form.fill("Learning Rate", "-5")
        form.submit()
        form.refuses("-5 is less than or equal to the minimum of 0")
        form.fill("Learning Rate", "0.0003")
        form.submit()
        form.accepts()
    newest = stack.api(
        "POST", "flow_runs/filter", deployments={"id": {"any_": [deployment]}}, sort="EXPECTED_START_TIME_DESC", limit=1
    )[0]
    assert newest["parameters"]["settings"]["grpo"]["learning_rate"] == 0.0003
    assert stack.wait(newest["id"])["state_type"] == "COMPLETED"
    assert stack.store().entries("grpo")[0].config["grpo"]["learning_rate"] == 0.0003


def test_of_two_runs_at_once_one_computes_and_the_other_waits(
    stack: LocalStack, whole: dict[str, dict[str, str]]
) -> None:
    settings = {"evaluate": {"bootstrap": 210}}
    runs = [stack.start("evaluate/default", settings=settings) for _ in range(2)]
    assert [stack.wait(run)["state_type"] for run in runs] == ["COMPLETED", "COMPLETED"]
    shown = [one["data"] for one in artifacts(stack, "stage-evaluate") if one["flow_run_id"] in runs]
    assert sorted("computed" in text for text in shown) == [False, True]


def test_two_nightlies_queue_and_the_second_reuses(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    before = entries(stack.store())
    runs = [stack.start("nightly/default", settings={"seed": 1}) for _ in range(2)]  # no stage has its result yet
    assert [stack.wait(run)["state_type"] for run in runs] == ["COMPLETED", "COMPLETED"]
    made = [stage for stage, _ in entries(stack.store()) - before]
    assert [made.count(stage) for stage in RECIPE] == [1] * len(RECIPE)
    shown = [one["data"].splitlines()[0] for one in artifacts(stack, "nightly-summary") if one["flow_run_id"] in runs]
    assert sorted(shown) == ["# 7 of 7 stages ran", "# Nothing new: every stage is cached"]


def test_a_scheduled_run_appears_and_completes(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    deployment = stack.api("GET", "deployments/name/nightly/default")["id"]
    every_minute = {"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True}
    made = stack.api("POST", f"deployments/{deployment}/schedules", [every_minute])[0]["id"]
    try:
        deadline = time.monotonic() + 180
        while not (done := scheduled(stack, deployment)):
            assert time.monotonic() < deadline, "no scheduled run completed within three minutes"
            time.sleep(1)
    finally:
        stack.api("DELETE", f"deployments/{deployment}/schedules/{made}")
    shown = {one["flow_run_id"]: one["data"] for one in artifacts(stack, "nightly-summary")}
    stages = [line.split(" | ")[:2] for line in shown[done].splitlines() if line.split(" | ")[0][2:] in RECIPE]
    assert len(stages) == len(RECIPE)
    # Nothing is trained again; the nightly before it was another seed's, whose model is the challenger since.
    assert {name[2:] for name, state in stages if state != "cached"} <= {"promote"}


def scheduled(stack: LocalStack, deployment: str) -> str | None:
    """A completed run that the scheduler made."""
    runs = stack.api(
        "POST", "flow_runs/filter", deployments={"id": {"any_": [deployment]}},
        flow_runs={"state": {"type": {"any_": ["COMPLETED"]}}},
    )  # fmt: skip
    return next((run["id"] for run in runs if run["auto_scheduled"]), None)


def test_a_cancelled_run_leaves_nothing_and_the_next_resumes(
    stack: LocalStack, whole: dict[str, dict[str, str]]
) -> None:
    run = stack.start("grpo/default", refresh=True)
    stack.until(lambda: working(stack, "grpo"), "the stage works on checkpoints")
    stack.command("prefect", "flow-run", "cancel", run)
    asked = time.monotonic()
    stack.until(lambda: not stack.stage_processes(), "no process is left")
    assert time.monotonic() - asked < 30
    assert stack.wait(run)["state_type"] == "CANCELLED"
    lease = stack.store().objects.walk("leases/grpo")[-1]
    assert json.loads(stack.store().objects.read(lease.path))["released"]
    assert stack.wait(stack.start("grpo/default"))["state_type"] == "COMPLETED"
    assert "resumed" in artifacts(stack, "stage-grpo")[0]["data"]
    assert stack.digests("grpo") == whole["grpo"]


def test_a_run_whose_worker_was_killed_ends_by_itself_and_resumes_when_retried(
    stack: LocalStack, whole: dict[str, dict[str, str]]
) -> None:
    run = stack.start("grpo/default", refresh=True)
    stack.until(lambda: working(stack, "grpo"), "the stage works on checkpoints")
    left = stack.stage_processes()
    stack.process("worker-gpu").kill()
    killed = time.monotonic()
    stack.until(lambda: not any(alive(process) for process in left), "no process is left")
    assert time.monotonic() - killed < 30
    assert stack.wait(run)["state_type"] == "CRASHED"
    stack.up()
    stack.command("prefect", "flow-run", "retry", run)
    stack.until(lambda: stack.run(run)["state_type"] == "COMPLETED", "the retried run completes")
    assert "resumed" in artifacts(stack, "stage-grpo")[0]["data"]
    assert stack.digests("grpo") == whole["grpo"]


def test_a_run_of_a_machine_that_is_gone_is_marked_as_crashed(
    stack: LocalStack, whole: dict[str, dict[str, str]]
) -> None:
    run = stack.start("grpo/default", refresh=True)
    stack.until(lambda: working(stack, "grpo"), "the stage works on checkpoints")
    everything = [*stack.stage_processes(), stack.process("worker-gpu")]
    for process in everything:
        process.suspend()  # so that none sees another die
    for process in everything:
        process.kill()
    assert stack.run(run)["state_type"] == "RUNNING"
    stack.up()
    ended = stack.wait(run, timeout_s=240)
    assert ended["state_type"] == "CRASHED"
    assert "its worker or machine is gone" in ended["state"]["message"]


def test_a_silent_run_that_the_automation_missed_gives_its_place_back(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.orchestration.zombie_runs.SILENT_S", 1.0)
    deployment = stack.api("GET", "deployments/name/grpo/default")["id"]
    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}}
    run = stack.api("POST", f"deployments/{deployment}/create_flow_run", state=later)["id"]
    stack.api("POST", f"flow_runs/{run}/set_state", state={"type": "RUNNING"}, force=True)
    time.sleep(2)
    api = {PREFECT_API_URL: stack.environment["PREFECT_API_URL"]}
    with temporary_settings(api), get_client(sync_client=True) as client:
        assert end_silent_runs(client, "gpu") == [stack.run(run)["name"]]
    assert stack.run(run)["state_type"] == "CRASHED"


def alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def working(stack: LocalStack, stage: str) -> bool:
    """Whether a stage has left a checkpoint in the store."""
    return any("/trees/" in found.path for found in stack.store().objects.walk(f"work/{stage}"))


def test_the_alias_champion_waits_for_a_persons_yes(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    uri, name = stack.settings.tracking.uri, stack.settings.tracking.registered_model
    before = get_alias(uri, name, "champion")
    other_model = {"rejection_sampling": {"sft": {"learning_rate": 4e-4}}}  # GRPO may hand on what it began with
    names = ("margin", "reference_margin", "task_margin", "both_orders_margin", "calibration_margin")
    off = dict.fromkeys((*names, "position_bias_margin"), 1.0)  # so few pairs can show nothing
    changed = {**other_model, "promote": {"approval": True, **off}}
    assert stack.wait(stack.start("nightly/default", settings=changed))["state_type"] == "COMPLETED"
    challenger, still = get_alias(uri, name, "challenger"), get_alias(uri, name, "champion")
    assert challenger is not None
    assert before is not None
    assert still is not None
    assert still.version == before.version != challenger.version
    asked = stack.api("POST", "flow_runs/filter", flows={"name": {"any_": ["approve"]}})
    assert [run["parameters"]["version"] for run in asked] == [challenger.version]
    stack.until(lambda: stack.run(asked[0]["id"])["state_type"] == "PAUSED", "the run that asks is paused")
    stack.api("POST", f"flow_runs/{asked[0]['id']}/resume", run_input={"approve": True, "remark": "looked at it"})
    assert stack.wait(asked[0]["id"])["state_type"] == "COMPLETED"
    champion = get_alias(uri, name, "champion")
    assert champion is not None
    assert champion.version == challenger.version


def test_what_lies_in_the_inbox_becomes_training_pairs(
    stack: LocalStack, whole: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    store = stack.store()
    write_drop(tmp_path / "tuesday", seed=77)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "pairs.jsonl").write_text("this is no JSON\n")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            name = path.relative_to(tmp_path).as_posix()
            store.objects.upload(Source(name, path, path.stat().st_size, hash_file(path)), f"{INBOX}/{name}")
    assert stack.wait(stack.start("nightly/default", stages=["prepare"]))["state_type"] == "COMPLETED"
    version = stack.digests("prepare")["preferences"]
    assert version != whole["prepare"]["preferences"]
    assert store.objects.walk(INBOX) == []
    assert store.objects.exists(f"inbox-accepted/{version[:12]}/tuesday/pairs.jsonl")
    assert b"line 1" in store.objects.read("inbox-rejected/broken/REASON.txt")
    before = entries(store)
    assert stack.wait(stack.start("nightly/default", stages=["prepare"]))["state_type"] == "COMPLETED"
    assert entries(store) == before


def test_no_secret_is_in_anything_that_the_runs_left(stack: LocalStack, whole: dict[str, dict[str, str]]) -> None:
    """Logs, databases, every object in S3, caches; but for the two files, mode 0600, that hold the S3 key."""
    secrets = [TEACHER_KEY.encode(), stack.state.credentials().secret_key.encode()]
    refused = {"distill": {"teacher": "openai", "model": "m", "max_attempts": 1, "timeout_s": 5.0}, "seed": 3}
    run = stack.start("distill/default", settings=refused, build_missing=True)  # the key is sent, to no avail
    assert stack.wait(run)["state_type"] == "FAILED"
    assert "127.0.0.1:9" in stack.logs(run)
    objects = open_objects(f"s3://{BUCKET}")  # the server packs what it stores, so it is asked for each
    for stored in objects.walk(""):
        data = objects.read(stored.path)
        assert not any(secret in data for secret in secrets), stored.path
    holders = {"s3.json", "env"}
    found, looked_at = [], 0
    for path in stack.state.path.parent.rglob("*"):
        if not path.is_file():
            continue
        data = path.read_bytes()
        looked_at += len(data)
        if any(secret in data for secret in secrets):
            found.append(path.relative_to(stack.state.path))
    assert {str(path) for path in found} <= holders
    assert all((stack.state.path / path).stat().st_mode & 0o077 == 0 for path in found)
    assert looked_at > 2**20
