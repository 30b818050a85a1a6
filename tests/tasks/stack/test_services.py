"""What each service is given: secrets in the environment of those who need them, addresses of this machine alone."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.stack.services import OWNER, POOLS, StackService, services
from tasks.stack.state import PORTS, Record, StackFolder

CALLER = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/home/someone",
    "OPENAI_API_KEY": "sk-callers",
    "AWS_ACCESS_KEY_ID": "callers-key",
    "AWS_SESSION_TOKEN": "callers-token",
    "PREFECT_API_KEY": "callers-cloud",
    "PREFECT_PROFILE": "elsewhere",
    "MLFLOW_TRACKING_TOKEN": "callers-mlflow",
    "THINKREWARD__RUNTIME__THREADS": "7",
    "THINKREWARD__STORAGE__ROOT": "/elsewhere",
    "THINKREWARD_PROFILE": "qwen3_vl_8b",
}


@pytest.fixture
def folder(tmp_path: Path) -> StackFolder:
    made = StackFolder.at(tmp_path / "stack")
    made.make()
    return made


def all_of(folder: StackFolder, **more: str) -> dict[str, StackService]:
    ports = {name: port + 20_000 for name, port in PORTS.items()}
    return {one.name: one for one in services(folder, Record(ports=ports), {**CALLER, **more})}


def test_servers_come_before_the_workers_that_need_them(folder: StackFolder) -> None:
    assert list(all_of(folder)) == ["s3", "mlflow", "prefect", "worker-cpu", "worker-gpu"]


def test_no_secret_is_in_a_command_line(folder: StackFolder) -> None:
    secrets = [*folder.credentials(), *CALLER.values()]
    for service in all_of(folder).values():
        words = " ".join(service.argv)
        assert not any(secret in words for secret in secrets if len(secret) > 6 and "/" not in secret), service.name
        locks = [value for name, value in service.environment.items() if name.startswith("WEED_JWT")]
        assert not any(lock in words for lock in locks)


def test_the_servers_behind_s3_have_locks_of_their_own_at_each_start(folder: StackFolder) -> None:
    first, second = (all_of(folder)["s3"].environment for _ in range(2))
    locks = {name for name in first if name.startswith("WEED_JWT")}
    assert len(locks) == 4
    assert len({environment[name] for environment in (first, second) for name in locks}) == 8


def test_what_listens_listens_on_this_machine_alone(folder: StackFolder) -> None:
    found = all_of(folder)
    assert {"-ip=127.0.0.1", "-ip.bind=127.0.0.1"} <= set(found["s3"].argv)
    for name in ("mlflow", "prefect"):
        assert found[name].argv[found[name].argv.index("--host") + 1] == "127.0.0.1"
    assert all(service.url.startswith("http://127.0.0.1:") for service in found.values())


def test_secrets_of_the_caller_reach_the_workers_and_no_server(folder: StackFolder) -> None:
    found = all_of(folder)
    for name in ("s3", "mlflow", "prefect"):
        assert not any(value in CALLER.values() for key, value in found[name].environment.items() if key not in CALLER)
        assert set(found[name].environment) & set(CALLER) <= {"PATH", "HOME", "AWS_ACCESS_KEY_ID"}
    for pool in POOLS:
        assert found[f"worker-{pool}"].environment["OPENAI_API_KEY"] == "sk-callers"


def test_workers_use_this_stack_whatever_the_caller_used(folder: StackFolder) -> None:
    environment = all_of(folder)["worker-gpu"].environment
    assert environment["AWS_ACCESS_KEY_ID"] == folder.credentials().access_key
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:24200/api"
    assert environment["THINKREWARD__STORAGE__ROOT"] == "s3://thinkreward/store"
    assert not {"AWS_SESSION_TOKEN", "PREFECT_API_KEY", "PREFECT_PROFILE", "MLFLOW_TRACKING_TOKEN"} & set(environment)


def test_workers_keep_the_callers_profile_settings_and_silence(folder: StackFolder) -> None:
    environment = all_of(folder)["worker-cpu"].environment
    assert environment["THINKREWARD__RUNTIME__THREADS"] == "7"
    assert environment["THINKREWARD_PROFILE"] == "qwen3_vl_8b"
    assert environment["DO_NOT_TRACK"] == environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"


def test_every_process_says_whose_it_is(folder: StackFolder) -> None:
    assert {service.environment[OWNER] for service in all_of(folder).values()} == {str(folder.path)}


def test_a_proxy_is_not_asked_for_this_machine(folder: StackFolder) -> None:
    assert "NO_PROXY" not in all_of(folder)["worker-cpu"].environment
    found = all_of(folder, https_proxy="http://proxy:3128", NO_PROXY="intranet")
    assert found["worker-cpu"].environment["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    assert found["mlflow"].environment["no_proxy"] == "intranet,127.0.0.1,localhost"


@contextmanager
def prefect_that_knows(*workers: dict[str, Any]) -> Iterator[int]:
    """A server that answers Prefect's question for the workers of a pool, over a real socket."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            known = workers if self.path == "/api/work_pools/cpu/workers/filter" else ()
            body = json.dumps(known).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "status", "heard_s", "healthy"),
    [
        ("stack-cpu", "ONLINE", 1, True),
        ("stack-cpu", "ONLINE", -1, False),  # heard of before this process: the one before it
        ("stack-cpu", "OFFLINE", 1, False),  # silent for long
        ("worker-7", "ONLINE", 1, False),  # another worker of the pool
    ],
)
def test_a_worker_is_well_once_prefect_has_heard_of_this_process(
    folder: StackFolder, name: str, status: str, heard_s: float, healthy: bool
) -> None:
    started = datetime.now(UTC)
    heard = (started + timedelta(seconds=heard_s)).isoformat().replace("+00:00", "Z")
    with prefect_that_knows({"name": name, "status": status, "last_heartbeat_time": heard}) as port:
        record = Record(ports={**PORTS, "prefect": port})
        worker = next(one for one in services(folder, record, CALLER) if one.name == "worker-cpu")
        assert worker.healthy(started.timestamp()) is healthy
    assert not worker.healthy(started.timestamp())  # nobody answers any more
