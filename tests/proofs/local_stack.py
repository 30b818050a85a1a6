"""A local stack in a folder of its own, with the small recipe: what the tests and proofs on real services stand on."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

import httpx
import psutil

from configs.load import VARIABLE, load_settings
from configs.schema import Settings
from models.retry_policy import RetryPolicy
from tasks.pipeline.run import open_store
from tasks.stack.services import services
from tasks.stack.state import PORTS, Record, StackFolder, exported
from tasks.stack.supervision import Started
from tasks.store.artifacts import Store
from tests.tasks import small_recipe as small
from tests.tasks.seaweed import free_ports

WHILE_BUSY = RetryPolicy(attempts=5, first_pause_s=1.0)
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
OF_OTHERS = ("PREFECT_", "AWS_", "MLFLOW_", "THINKREWARD", "OPENAI_")


def is_busy(error: BaseException) -> bool:
    """Whether Prefect's SQLite file was locked, after which its own clients send the request again as well."""
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == httpx.codes.SERVICE_UNAVAILABLE


class LocalStack:
    """`thinkreward stack` below `folder`; inside the `with`, this process's environment leads to it as well."""

    def __init__(self, folder: Path, *, secrets: Mapping[str, str] | None = None, **changes: object) -> None:
        self.state = StackFolder.at(folder / "stack")
        # One core for a stage, the other for five servers and workers.
        settings = {
            **small.SMALL,
            "runtime.threads": 1,
            "runtime.retry_delay_s": 10.0,
            **{name.replace("__", "."): value for name, value in changes.items()},
        }
        own = {VARIABLE + name.upper().replace(".", "__"): json.dumps(value) for name, value in settings.items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_OTHERS)}
        bin_first = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._base = {**kept, **own, **(secrets or {}), "PATH": bin_first, "PYTHONPATH": str(small.REPOSITORY)}
        self._patched = mock.patch.dict(os.environ)
        if not self.state.exists():  # ports of its own, so that no two stacks take each other's while one restarts
            self.state.make()
            self.state.keep(Record(ports=dict(zip(PORTS, free_ports(len(PORTS)), strict=True))))

    @property
    def environment(self) -> dict[str, str]:
        """What a person's shell has after `eval "$(thinkreward stack env)"`."""
        shown = exported(self.state, self.state.record().ports)
        home = self.state.path.parent / "person"  # not the developer's Prefect profile
        return {**self._base, **shown, "PREFECT_HOME": str(home)}

    def __enter__(self) -> Self:
        self.up()
        self._patched.start()
        os.environ.clear()
        os.environ.update(self.environment)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.command("thinkreward", "stack", "down", check=False)
        finally:
            self._patched.stop()

    def up(self) -> float:
        """Start what is missing; the seconds it took."""
        started = time.monotonic()
        self.command("thinkreward", "stack", "up", environment=self._base)
        return time.monotonic() - started

    def restart(self, service: str) -> None:
        """Start one service whose process is gone, as a supervisor would; it is not waited for."""
        with self.state.locked():
            record = self.state.record()
            found = {one.name: one for one in services(self.state, record, self._base)}
            record.services[service] = Started(found[service], self.state).running
            self.state.keep(record)

    def command(
        self, *words: str, check: bool = True, environment: Mapping[str, str] | None = None, timeout_s: float = 900
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command as a person would in the stack's environment."""
        argv: Sequence[str] = words
        if words[0] == "thinkreward":
            argv = (sys.executable, "-m", "flows.cli.main", *words[1:])
        with_state = {**(environment or self.environment), "THINKREWARD_STACK": str(self.state.path)}
        done = subprocess.run(
            argv, cwd=self.state.path.parent, env=with_state, capture_output=True, text=True, timeout=timeout_s
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    @property
    def settings(self) -> Settings:
        """The settings that the stack's flows run with."""
        return load_settings("shapes")

    def store(self) -> Store:
        """The store in the stack's S3."""
        return open_store(self.settings)

    def api(self, method: str, path: str, body: Any = None, **fields: Any) -> Any:
        """Prefect's REST API; what is sent is `body`, or an object of the `fields`."""
        url = f"{self.environment['PREFECT_API_URL']}/{path}"

        def request() -> Any:
            answer = httpx.request(method, url, json=body or fields or None, timeout=60).raise_for_status()
            return answer.json() if answer.content else None

        return WHILE_BUSY.call(request, is_busy)

    @staticmethod
    def until(holds: Callable[[], object], what: str, timeout_s: float = 300) -> None:
        """Wait until `holds()` is true."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"after {timeout_s} s it still does not hold that {what}")
            time.sleep(0.1)

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a deployment's run; its id."""
        found = self.api("GET", f"deployments/name/{deployment}")
        return str(self.api("POST", f"deployments/{found['id']}/create_flow_run", parameters=parameters)["id"])

    def run(self, flow_run: str) -> dict[str, Any]:
        """A flow run as the API gives it."""
        found: dict[str, Any] = self.api("GET", f"flow_runs/{flow_run}")
        return found

    def wait(self, flow_run: str, timeout_s: float = 900) -> dict[str, Any]:
        """Wait until a flow run has ended; a server that is away, or busy with its SQLite file, is waited for."""
        deadline = time.monotonic() + timeout_s
        state = "not heard of"
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                found = self.run(flow_run)
                state = found["state_type"]
                if state in FINAL:
                    return found
            time.sleep(0.5)
        raise AssertionError(f"{flow_run} is still {state} after {timeout_s} s")

    def logs(self, flow_run: str) -> str:
        """A flow run's log."""
        found = self.api("POST", "logs/filter", logs={"flow_run_id": {"any_": [flow_run]}}, limit=200)
        return "\n".join(line["message"] for line in found)

    def digests(self, stage: str) -> dict[str, str]:
        """The newest outputs of a stage."""
        newest = self.store().entries(stage)[0]
        return {name: ref.digest for name, ref in newest.outputs.items()}

    def process(self, service: str) -> psutil.Process:
        """A service's process."""
        return psutil.Process(self.state.record().services[service].pid)

    def stage_processes(self) -> list[psutil.Process]:
        """The flow runs' processes below the workers, and those of stages running."""
        found = []
        for worker in ("worker-cpu", "worker-gpu"):
            found += self.process(worker).children(recursive=True)
        return found

    def wipe(self) -> None:
        """Remove everything below the folder, once it is down."""
        shutil.rmtree(self.state.path.parent, ignore_errors=True)
