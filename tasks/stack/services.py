"""What the local stack is made of: each service's command, environment, address and health check.

Secrets travel in environments and files of mode 0600, never in a command line. The servers get a clean environment;
the workers pass the caller's to the flow runs, with what leads past the stack taken out.
"""

import json
import os
import secrets
import shutil
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tasks.pipeline.graph import REPOSITORY
from tasks.stack.state import BUCKET, HOST, Record, StackError, StackFolder, exported

ANSWER_S = 3.0  # a server that takes longer to answer a health check counts as unwell
OWNER = "THINKREWARD_STACK_PROCESS"  # in the environment of everything the stack starts, and so of its descendants
POOLS = ("cpu", "gpu")
QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
# What a server needs of the caller's environment.
BASICS = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True)
class StackService:
    """One process of the stack, with its children."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    healthy: Callable[[float], bool]  # given the process's start time, seconds since the epoch
    url: str
    grace_s: float  # between asking it to end and ending it
    ports: tuple[str, ...] = ()
    # A worker is asked alone, so that it can end its flow runs itself; of a server, the whole process group.
    as_group: bool = True


def services(folder: StackFolder, record: Record, environ: Mapping[str, str]) -> list[StackService]:
    """All services in the order they start, on the ports of `record`."""
    ports = record.ports
    base = {name: environ[name] for name in BASICS if name in environ}
    base |= {**QUIET, **_past_proxies(environ), OWNER: str(folder.path), "PYTHONUNBUFFERED": "1"}
    servers = [_s3(folder, ports, base), _mlflow(folder, ports, base), _prefect(folder, ports, base)]
    environment = worker_environment(folder, ports, environ)
    return [*servers, *(_worker(pool, ports, environment) for pool in POOLS)]


def _s3(folder: StackFolder, ports: Mapping[str, int], base: Mapping[str, str]) -> StackService:
    folder.credentials()  # the file is there before the server reads it
    # Without these keys the servers behind the S3 one serve and take files without a signature, to any web page too.
    # They are used within this one process, so each start has its own.
    keys = ("WEED_JWT_SIGNING_KEY", "WEED_JWT_SIGNING_READ_KEY", "WEED_JWT_FILER_SIGNING_KEY")
    locks = {name: secrets.token_urlsafe(30) for name in (*keys, "WEED_JWT_FILER_SIGNING_READ_KEY")}
    options = {
        "dir": folder.path / "s3",
        "ip": HOST,
        "ip.bind": HOST,
        "master.port": ports["s3_master"],
        "volume.port": ports["s3_volume"],
        "filer.port": ports["s3_filer"],
        "s3.port": ports["s3"],
        "s3.config": folder.path / "s3.json",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",  # a mistyped bucket is an error, as at Amazon
        "volume.max": 0,
        "volume.preStopSeconds": 0,
        "master.volumeSizeLimitMB": 64,
        "master.telemetry": "false",
        "master.electionTimeout": "1s",  # of one master; the default holds up each later start for 10 s and more
    }
    url = f"http://{HOST}:{ports['s3']}"
    return StackService(
        name="s3",
        argv=(weed(), "-logtostderr=true", "server", "-s3", *(f"-{name}={value}" for name, value in options.items())),
        environment={**base, **locks, "HOME": str(folder.path)},  # not the security.toml of a home
        cwd=folder.path,
        healthy=lambda _: _answers(f"{url}/healthz"),
        url=url,
        # It waits 15 s for a stream that it holds open to itself. By then all writers are gone, and what it has
        # answered for is in its files.
        grace_s=2.0,
        ports=("s3", "s3_master", "s3_volume", "s3_filer"),
    )


def _mlflow(folder: StackFolder, ports: Mapping[str, int], base: Mapping[str, str]) -> StackService:
    options = {
        "--host": HOST,
        "--port": str(ports["mlflow"]),
        "--workers": "1",  # a quarter of a GiB each
        "--backend-store-uri": f"sqlite:///{folder.path / 'mlflow.db'}",
        "--artifacts-destination": f"s3://{BUCKET}/mlflow",
    }
    shared = exported(folder, ports)
    aws = {name: value for name, value in shared.items() if name.startswith("AWS_")}
    url = f"http://{HOST}:{ports['mlflow']}"
    return StackService(
        name="mlflow",
        argv=(sys.executable, "-m", "mlflow", "server", *(word for pair in options.items() for word in pair)),
        # Its job runners are for language-model judges, and four more processes.
        environment={**base, **aws, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        cwd=folder.path,
        healthy=lambda _: _answers(f"{url}/health"),
        url=url,
        grace_s=10.0,
        ports=("mlflow",),
    )


def _prefect(folder: StackFolder, ports: Mapping[str, int], base: Mapping[str, str]) -> StackService:
    url = f"http://{HOST}:{ports['prefect']}"
    own = {
        "PREFECT_HOME": str(folder.path / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        # In memory, a restart would forget who holds the nightly's place, and cancel a nightly running.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
    argv = (sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(ports["prefect"]))
    return StackService(
        name="prefect",
        argv=argv,
        environment={**base, **own},
        cwd=folder.path,
        healthy=lambda _: _answers(f"{url}/api/ready"),
        url=url,
        grace_s=10.0,
        ports=("prefect",),
    )


def _worker(pool: str, ports: Mapping[str, int], environment: Mapping[str, str]) -> StackService:
    name, api = f"stack-{pool}", f"http://{HOST}:{ports['prefect']}/api"
    command = ("prefect", "worker", "start", "--type", "process", "--pool", pool, "--name", name)
    fixed = ("--install-policy", "never", "--no-create-pool-if-not-found")
    return StackService(
        name=f"worker-{pool}",
        argv=(sys.executable, "-m", *command, *fixed),
        environment=environment,
        cwd=REPOSITORY,
        healthy=lambda started: _online(api, pool, name, started),
        url=f"http://{HOST}:{ports['prefect']}/work-pools/work-pool/{pool}",
        grace_s=40.0,  # it gives a flow run 30 s to leave
        as_group=False,
    )


def worker_environment(folder: StackFolder, ports: Mapping[str, int], environ: Mapping[str, str]) -> dict[str, str]:
    """What workers and their flow runs get: the caller's environment, with this stack's own over it."""
    foreign = ("AWS_", "PREFECT_", "MLFLOW_")
    caller = {name: value for name, value in environ.items() if not name.startswith(foreign)}
    own = {
        OWNER: str(folder.path),
        "PREFECT_HOME": str(folder.path / "prefect"),
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "PYTHONUNBUFFERED": "1",
    }
    return {**caller, **QUIET, **_past_proxies(environ), **exported(folder, ports), **own}


def weed() -> str:
    """The command of SeaweedFS, next to this Python or on the path. Raises `StackError` where it is not installed."""
    local = Path(sys.executable).parent / "weed"
    found = str(local) if local.is_file() and os.access(local, os.X_OK) else shutil.which("weed")
    if not found:
        raise StackError("the S3 server is not installed (no command `weed`): `make setup`, or pip install '.[stack]'")
    return found


def _past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY with this machine in it, where a proxy is set that would be asked for 127.0.0.1."""
    if not any(name in environ or name.upper() in environ for name in PROXIES):
        return {}
    spared = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    value = ",".join([*filter(None, [spared]), HOST, "localhost"])
    return {"NO_PROXY": value, "no_proxy": value}


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _answers(url: str) -> bool:
    try:
        with _direct.open(url, timeout=ANSWER_S) as response:
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False


def _online(api: str, pool: str, worker: str, started: float) -> bool:
    """Whether Prefect has received a heartbeat of this worker since it was started, and lately."""
    body = json.dumps({"limit": 50}).encode()
    request = urllib.request.Request(  # noqa: S310  (http to this machine)
        f"{api}/work_pools/{pool}/workers/filter", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with _direct.open(request, timeout=ANSWER_S) as response:
            known = json.loads(response.read())
    except (OSError, ValueError):
        return False
    return any(
        one["name"] == worker
        and one["status"] == "ONLINE"
        and datetime.fromisoformat(one["last_heartbeat_time"]).timestamp() >= started
        for one in known
    )
