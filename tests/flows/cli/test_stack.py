"""`thinkreward stack` as a person types it, and then on real servers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.stack.automations import CRASHED, CRASHED_MESSAGE, NOT_STARTED, SILENCE_S
from tasks.stack.services import OWNER
from tasks.stack.state import PORTS, Record, Running, StackFolder
from tests.proofs.local_stack import LocalStack
from tests.tasks import small_recipe as small

SERVICES = ["s3", "mlflow", "prefect", "worker-cpu", "worker-gpu"]
TEACHER_KEY = "sk-the-stack-must-keep-this-to-itself"
READY_S = 60.0
DOWN_S = 60.0

# A run with a child in a session of its own, as a stage has.
PATIENT = '''
import subprocess, sys, time
from prefect import flow

@flow(name="patient")
def patient(seconds: int = 60) -> None:
    """Wait, and have a child wait."""
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"], start_new_session=True)
    time.sleep(seconds)
'''


def typed(*words: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "THINKREWARD"))}
    return subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "stack", *words], cwd=folder, capture_output=True, text=True,
        env={**cleared, "PYTHONPATH": str(small.REPOSITORY), **environment},
    )  # fmt: skip


@pytest.fixture
def ended(tmp_path: Path) -> StackFolder:
    """A stack that was started once and does not run."""
    folder = StackFolder.at(tmp_path / "a stack")
    folder.make()
    folder.keep(Record(ports=PORTS, services={"s3": Running(pid=os.getpid(), started=1.0)}))
    return folder


@pytest.mark.parametrize("command", ["status", "logs", "env", "down"])
def test_where_no_stack_is_the_command_that_makes_one_is_told(command: str, tmp_path: Path) -> None:
    done = typed(command, "--state", "some where", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no stack in")
    assert "stack up --state 'some where'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_set_up_alone_asks_for_the_server(tmp_path: Path) -> None:
    done = typed("setup", folder=tmp_path)
    assert done.returncode == 2
    assert "PREFECT_API_URL is not set" in done.stderr


def test_up_without_a_deployments_file_starts_nothing(tmp_path: Path) -> None:
    done = typed("up", "--prefect-file", "none.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert "none.yaml cannot be read" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_status_of_what_is_down_is_told_and_is_exit_status_1(ended: StackFolder) -> None:
    done = typed("status", folder=ended.path.parent, THINKREWARD_STACK=str(ended.path))
    assert done.returncode == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [[name, "down"] for name in SERVICES]
    said = json.loads(typed("status", "--json", "--state", str(ended.path), folder=ended.path.parent).stdout)
    assert said["ok"] is False
    assert [row["pid"] for row in said["services"]] == [None] * 5


def test_a_shell_takes_the_env_lines(ended: StackFolder) -> None:
    lines = typed("env", "--state", str(ended.path), folder=ended.path.parent, AWS_SESSION_TOKEN="old").stdout
    script = lines + 'echo "${AWS_SESSION_TOKEN-none} $THINKREWARD__STORAGE__CACHE_DIR"'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"none {ended.path / 'cache'}"


def test_logs_are_shown_by_service_and_an_unknown_one_is_named(ended: StackFolder) -> None:
    ended.log_file("mlflow").write_text("one\ntwo\nthree\n")
    state = ("--state", str(ended.path))
    assert typed("logs", "mlflow", "-n", "2", *state, folder=ended.path.parent).stdout == "two\nthree\n"
    assert typed("logs", "-n", "1", *state, folder=ended.path.parent).stdout == "mlflow     | three\n"
    done = typed("logs", "redis", *state, folder=ended.path.parent)
    assert done.returncode == 2
    assert "no service 'redis'" in done.stderr


def test_ending_what_does_not_run_is_no_error_and_ends_nobody_else(ended: StackFolder) -> None:
    done = typed("down", "--state", str(ended.path), folder=ended.path.parent)
    assert done.returncode == 0
    assert "nothing was running" in done.stderr
    assert typed("down", "--wipe", "--state", str(ended.path), folder=ended.path.parent).returncode == 0
    assert not ended.path.exists()


class Real:
    """A stack that was brought up, with what was said and how long it took."""

    def __init__(self, folder: Path) -> None:
        (folder / "patient.py").write_text(PATIENT)
        self.deployments = folder / "prefect.yaml"
        self.deployments.write_text(
            "name: patient\npull: []\ndeployments:\n  - name: default\n    work_pool: {name: cpu}\n"
            f"    entrypoint: {folder / 'patient.py'}:patient\n"
        )
        self.stack = LocalStack(folder, secrets={"OPENAI_API_KEY": TEACHER_KEY})
        self.first, self.first_s = self.up()

    def typed(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self.stack.command("thinkreward", "stack", *words, environment=self.stack._base, check=check)

    def up(self, check: bool = True) -> tuple["subprocess.CompletedProcess[str]", float]:
        began = time.monotonic()
        done = self.typed("up", "--prefect-file", str(self.deployments), check=check)
        return done, time.monotonic() - began

    def status(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.typed("status", "--json", check=False).stdout)
        return said

    def start_patient(self) -> tuple[str, list[psutil.Process]]:
        """A flow run running, and its two processes."""
        run = self.stack.start("patient/default", seconds=600)
        self.stack.until(lambda: len(self.processes("patient", "sleep(600)")) == 2, "the run has its child", 60)
        return run, self.processes("patient", "sleep(600)")

    def processes(self, *about: str) -> list[psutil.Process]:
        """All of the stack's processes, found by their environment; or the flow run's two."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get(OWNER) == str(self.stack.state.path)
                words = " ".join(process.cmdline())
            except (psutil.Error, OSError):
                continue
            if mine and (not about or "prefect.engine" in words or "sleep(600)" in words):
                found.append(process)
        return found


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    made = Real(tmp_path_factory.mktemp("stack"))
    try:
        yield made
    finally:
        made.typed("down", check=False)


slow = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(400)]


def marked(test: Any) -> Any:
    for mark in slow:
        test = mark(test)
    return test


@marked
def test_up_is_ready_within_a_minute_and_says_where_and_what_next(real: Real) -> None:
    assert real.first_s < READY_S
    told = real.first.stdout
    for name in ("prefect", "mlflow", "s3"):
        assert f"http://127.0.0.1:{real.stack.state.record().ports[name]}" in told
    assert "stack env" in told
    assert real.status()["ok"] is True
    assert [row["name"] for row in real.status()["services"]] == SERVICES


@marked
def test_a_second_up_finds_everything_and_doubles_nothing(real: Real) -> None:
    before = real.stack.state.record()
    again, _ = real.up()
    assert "everything was running" in again.stdout
    assert again.stderr.count("running already") == 5
    assert real.stack.state.record() == before
    pools = {pool["name"]: pool for pool in real.stack.api("POST", "work_pools/filter")}
    assert {name: (pool["type"], pool["concurrency_limit"]) for name, pool in pools.items()} == {
        "cpu": ("process", 4),
        "gpu": ("process", 1),
    }
    assert {one["name"] for one in real.stack.api("POST", "automations/filter")} == {CRASHED, NOT_STARTED}
    assert [one["name"] for one in real.stack.api("POST", "deployments/filter")] == ["default"]
    blocks = {one["name"]: one for one in real.stack.api("POST", "block_documents/filter")}
    assert set(blocks) == {"openai-api-key", "aws-access-key-id", "aws-secret-access-key"}
    assert TEACHER_KEY not in json.dumps(blocks)


@marked
def test_limits_that_a_person_set_outlive_set_up_and_setup_changes_them_on_request(real: Real) -> None:
    setup = ("thinkreward", "stack", "setup", "--prefect-file", str(real.deployments))

    def limit() -> Any:
        return real.stack.api("GET", "work_pools/gpu")["concurrency_limit"]

    assert "updated, process, 2 at a time" in real.stack.command(*setup, "--gpu-limit", "2").stdout
    assert limit() == 2
    assert "deployments: 1 up to date" in real.stack.command(*setup).stdout
    assert limit() == 2
    real.stack.command(*setup, "--gpu-limit", "1")
    assert limit() == 1
    template = str(small.REPOSITORY / "deployments" / "k8s-gpu-template.json")
    refused = real.stack.command(*setup, "--gpu-pool-template", template, check=False)
    assert refused.returncode == 2
    assert "prefect work-pool delete gpu" in refused.stderr


@marked
def test_a_deployment_that_cannot_be_made_is_an_error(real: Real, tmp_path: Path) -> None:
    broken = tmp_path / "prefect.yaml"
    broken.write_text(real.deployments.read_text() + "  - name: other\n    entrypoint: no.such.flow\n")
    setup = ("thinkreward", "stack", "setup", "--prefect-file", str(broken))
    done = real.stack.command(*setup, check=False)
    assert done.returncode == 1
    assert "of 2 deployments" in done.stderr


@marked
def test_store_and_mlflow_keep_what_they_are_given_in_s3(real: Real) -> None:
    program = (
        "import mlflow; from configs.load import load_settings; from tasks.pipeline.run import open_store\n"
        "store = open_store(load_settings('shapes')); store.check_writable()\n"
        "with mlflow.start_run() as run: mlflow.log_text('kept', 'note.txt')\n"
        "print(mlflow.artifacts.load_text(f'runs:/{run.info.run_id}/note.txt'))\n"
        "import boto3; s3 = boto3.client('s3')\n"
        "print([one['Key'] for one in s3.list_objects_v2(Bucket='thinkreward')['Contents']])\n"
    )
    said = real.stack.command("python", "-c", program).stdout
    assert "\nkept\n" in said
    assert "artifacts/note.txt" in said.splitlines()[-1]
    refused = "import boto3; boto3.client('s3', aws_secret_access_key='wrong', aws_access_key_id='x').list_buckets()"
    assert "InvalidAccessKeyId" in real.stack.command("python", "-c", refused, check=False).stderr
    mistyped = "import boto3; boto3.client('s3').put_object(Bucket='thinkrewrad', Key='x', Body=b'x')"
    assert "NoSuchBucket" in real.stack.command("python", "-c", mistyped, check=False).stderr


@marked
def test_no_credential_is_where_it_does_not_belong(real: Real) -> None:
    state = real.stack.state
    secrets = [*state.credentials(), TEACHER_KEY]
    shown = real.typed("status", "--json").stdout + real.first.stdout + real.first.stderr
    shown += "".join(path.read_text(errors="replace") for path in [state.path / "stack.json", *state.logs.iterdir()])
    shown += "".join(" ".join(process.cmdline()) for process in real.processes())
    assert len(real.processes()) >= 6
    assert not [secret for secret in secrets if secret in shown]


@marked
@pytest.mark.crash
def test_a_run_whose_worker_vanished_is_marked_as_crashed_and_up_starts_the_worker_again(real: Real) -> None:
    run, processes = real.start_patient()
    worker = real.stack.process("worker-cpu")
    for process in [worker, *processes]:
        process.kill()
    killed = time.monotonic()
    assert {row["name"] for row in real.status()["services"] if row["state"] == "down"} == {"worker-cpu"}
    again, _ = real.up()
    assert "started worker-cpu\n" in again.stdout
    found = real.stack.wait(run, timeout_s=SILENCE_S + 60)
    assert found["state_type"] == "CRASHED"
    assert found["state"]["message"] == CRASHED_MESSAGE
    assert time.monotonic() - killed < SILENCE_S + 30


@marked
def test_down_ends_flow_runs_and_their_children_and_tells_prefect(real: Real) -> None:
    keep = "import boto3; boto3.client('s3').put_object(Bucket='thinkreward', Key='kept', Body=b'through a restart')"
    real.stack.command("python", "-c", keep)
    run, _ = real.start_patient()
    began = time.monotonic()
    told = real.typed("down").stderr
    assert time.monotonic() - began < DOWN_S
    assert "ended 1 flow run running" in told
    assert real.processes() == []
    assert [row["state"] for row in real.status()["services"]] == ["down"] * 5
    ports = real.stack.state.record().ports
    assert not [path for port in ports.values() for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]
    real.up()
    assert real.stack.state.record().ports == ports
    assert real.stack.run(run)["state_type"] == "CRASHED"
    read = "import boto3; print(boto3.client('s3').get_object(Bucket='thinkreward', Key='kept')['Body'].read())"
    assert "through a restart" in real.stack.command("python", "-c", read).stdout
    real.typed("down")


@marked
def test_a_server_that_dies_at_its_start_is_told_within_seconds_with_its_log(real: Real) -> None:
    real.typed("down")
    database = real.stack.state.path / "mlflow.db"
    database.rename(database.with_name("kept.db"))
    database.write_text("this is no database " * 100)
    done, seconds = real.up(check=False)
    assert done.returncode == 1
    assert seconds < 30
    assert "mlflow ended at its start" in done.stderr
    assert "file is not a database" in done.stderr
    assert str(real.stack.state.log_file("mlflow")) in done.stderr
    database.with_name("kept.db").rename(database)
    again, _ = real.up()
    assert "mlflow" in again.stdout
    real.typed("down", "--wipe")
    assert real.processes() == []
    assert not real.stack.state.path.exists()
