"""What Prefect needs before flows run: work pools with limits, secret blocks, automations, deployments.

Each step may be done again: what is there is found by its name and brought up to date, never doubled. It works on
whatever API the settings name, the local stack's or another.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from models.errors import ConfigError
from tasks.pipeline.graph import REPOSITORY
from tasks.stack.automations import crash_automation, pending_automation, put_automation
from tasks.stack.state import StackError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

PREFECT_FILE = REPOSITORY / "deployments" / "prefect.yaml"
# Blocks that are made if their variable is set; tasks read them where a worker's environment lacks the variable.
SECRETS = {
    "openai-api-key": "OPENAI_API_KEY",
    "aws-access-key-id": "AWS_ACCESS_KEY_ID",
    "aws-secret-access-key": "AWS_SECRET_ACCESS_KEY",
}
DEPLOYED = "successfully created"  # as `prefect deploy` prints for each deployment, new or updated
DEPLOY_LIMIT_S = 300.0
LAST_LINES = 25
LogLine = Callable[[str], None]


@dataclass(frozen=True)
class Pool:
    """A work pool as it is wanted. `limit` holds for a new one; an existing one keeps its own unless `set_limit`."""

    name: str
    limit: int
    description: str
    set_limit: bool = False
    template: Path | None = None  # a base job template whose worker is Kubernetes'; without one, processes

    @property
    def type(self) -> str:
        """The kind of worker that serves it."""
        return "kubernetes" if self.template else "process"


def wanted_pools(
    *, cpu_limit: int | None = None, gpu_limit: int | None = None, gpu_template: Path | None = None
) -> list[Pool]:
    """The two pools; by default four runs at a time on CPUs, and one on the GPU, which holds one model's training."""
    return [
        Pool("cpu", cpu_limit or 4, "data, teacher, judging and promotion", cpu_limit is not None),
        Pool("gpu", gpu_limit or 1, "training and sampling", gpu_limit is not None, gpu_template),
    ]


def prepare(api: str, pools: list[Pool], environ: Mapping[str, str], log: LogLine) -> None:
    """Pools, blocks and the automations on the API at the address `api`; one line to `log` for each.

    Raises `StackError` if the API does not answer, `ConfigError` for a template that cannot be used.
    """
    templates = {pool.name: _template(pool) for pool in pools}
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL, temporary_settings

    async def all_of_it() -> None:
        async with get_client() as client:
            for pool in pools:
                log(await _pool(client, pool, templates[pool.name]))
            for name, variable in SECRETS.items():
                if value := environ.get(variable):
                    await _secret(client, name, value)
                    log(f"secret block {name}: from {variable}")
            log(await put_automation(client, crash_automation()))
            log(await put_automation(client, pending_automation()))

    try:
        with temporary_settings({PREFECT_API_URL: api}):
            asyncio.run(all_of_it())
            _mend_runs(pools, log)
    except httpx.TransportError as error:
        raise StackError(f"Prefect at {api} does not answer ({error}): start it, or set PREFECT_API_URL") from error
    except PrefectHTTPStatusError as error:
        raise StackError(f"Prefect at {api} refused: {error.response.status_code} {error.response.text}") from error


def _mend_runs(pools: list[Pool], log: LogLine) -> None:
    """What workers left behind that died between taking a run and starting it."""
    from prefect.client.orchestration import get_client

    from tasks.orchestration.zombie_runs import free_pending_runs

    with get_client(sync_client=True) as client:
        for pool in pools:
            for name in free_pending_runs(client, pool.name):
                log(f"flow run {name}: its worker never started it; it no longer holds its place")


async def _pool(client: "PrefectClient", pool: Pool, template: dict[str, Any] | None) -> str:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    try:
        there = await client.read_work_pool(pool.name)
    except ObjectNotFound:
        made = await client.create_work_pool(
            WorkPoolCreate(
                name=pool.name,
                type=pool.type,
                description=pool.description,
                concurrency_limit=pool.limit,
                base_job_template=template or await _process_template(),
            )
        )
        return f"work pool {pool.name}: made, {made.type}, {pool.limit} at a time"
    if pool.template and there.type != pool.type:
        raise ConfigError(
            f"work pool {pool.name} is of type {there.type}, and a template makes it {pool.type}, which Prefect does "
            f"not change: `prefect work-pool delete {pool.name}` first, then set up again"
        )
    change: dict[str, Any] = {"base_job_template": template} if template else {}
    if pool.set_limit:
        change["concurrency_limit"] = pool.limit
    if change:
        await client.update_work_pool(pool.name, WorkPoolUpdate(**change))
    limit = change.get("concurrency_limit", there.concurrency_limit)
    return f"work pool {pool.name}: {'updated' if change else 'there'}, {there.type}, {limit or 'any number'} at a time"


async def _process_template() -> dict[str, Any]:
    from prefect.workers.process import ProcessWorker

    return ProcessWorker.get_default_base_job_template()


def _template(pool: Pool) -> dict[str, Any] | None:
    """The base job template in the pool's file. Raises `ConfigError` for what is none."""
    if pool.template is None:
        return None
    try:
        read = json.loads(pool.template.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the template {pool.template} cannot be read: {error}") from error
    if not isinstance(read, dict) or not {"job_configuration", "variables"} <= set(read):
        raise ConfigError(
            f"the template {pool.template} is no base job template: it needs job_configuration and variables, as in "
            "`prefect work-pool get-default-base-job-template --type kubernetes`"
        )
    return read


async def _secret(client: "PrefectClient", name: str, value: str) -> None:
    from prefect.blocks.system import Secret

    await Secret(value=value).asave(name, overwrite=True, client=client)


def names_in(prefect_file: Path) -> list[str]:
    """The entrypoints that a prefect.yaml deploys. Raises `ConfigError` for one that cannot be used.

    Prefect itself goes on without a file that it cannot read, and reports success.
    """
    try:
        document = yaml.safe_load(prefect_file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"the deployments file {prefect_file} cannot be read: {error}") from error
    deployments = document.get("deployments") if isinstance(document, dict) else None
    if not deployments:
        raise ConfigError(f"the deployments file {prefect_file} has no deployments: list them under `deployments:`")
    return [str(one.get("entrypoint")) for one in deployments]


class Deploying:
    """`prefect deploy --all` running in a child process, so that other things can be done meanwhile."""

    def __init__(self, api: str, prefect_file: Path, environ: Mapping[str, str], log_file: Path) -> None:
        self.wanted, self.file, self.log_file = names_in(prefect_file), prefect_file, log_file
        # A wide terminal, so that no line that is searched for is broken in two.
        environment = {**environ, "PREFECT_API_URL": api, "COLUMNS": "1000", "NO_COLOR": "1"}
        command = ("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file.resolve()))
        with log_file.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def finish(self) -> str:
        """Wait for it. Raises `StackError` with the end of its log unless every deployment was made."""
        try:
            code = self._process.wait(DEPLOY_LIMIT_S)
        finally:
            self.stop()
        output = self.log_file.read_text(errors="replace")
        made = output.count(DEPLOYED)
        if code or made != len(self.wanted):
            end = "\n".join(line for line in output.splitlines()[-LAST_LINES:] if line.strip())
            count = f"of {len(self.wanted)} deployments in {self.file}, {made} were made"
            raise StackError(f"{count}; the end of {self.log_file}:\n{end}")
        return f"deployments: {made} up to date"

    def stop(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
