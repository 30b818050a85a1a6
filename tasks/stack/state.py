"""The one folder that a local stack keeps: ports, processes, credentials, logs and the servers' data.

- stack.json: ports, and for each service its process id and start time; no secret
- s3.json: the S3 server's identity, made at random on the first start; mode 0600
- env: `export NAME=value` lines for a shell; mode 0600, since the S3 key is among them
- logs/: one file per service
- s3/, prefect/, mlflow.db, cache/: what the servers and the pipeline keep
"""

import contextlib
import fcntl
import json
import os
import secrets
import shlex
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import ThinkrewardError

HOST = "127.0.0.1"
BUCKET = "thinkreward"
REGION = "us-east-1"
# Where people look first. SeaweedFS finds a server's gRPC port by adding GRPC_ABOVE to its HTTP port.
PORTS = {"prefect": 4200, "mlflow": 5000, "s3": 8333, "s3_master": 9333, "s3_volume": 8080, "s3_filer": 8888}
GRPC_ABOVE = 10_000
NEARBY = 100  # ports tried above a familiar one that is taken
# Names of the caller's environment that would lead a client past the stack: another account, token or profile.
MISLEADING = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")
KEPT = ("stack.json", "s3.json", "env", "logs", "s3", "prefect", "mlflow.db", "mlflow.db-shm", "mlflow.db-wal", "cache")


class StackError(ThinkrewardError):
    """The local stack cannot be started, reached or set up; the message names the log or the fix."""


class Running(BaseModel):
    """A process that was started: `started` is its start time in seconds since the epoch, against reused ids."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: float


class Record(BaseModel):
    """What stack.json holds."""

    ports: dict[str, int] = {}
    services: dict[str, Running] = {}


class Credentials(NamedTuple):
    """The S3 identity of this stack."""

    access_key: str
    secret_key: str


@dataclass(frozen=True)
class StackFolder:
    """A stack's folder; `path` is absolute."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> "StackFolder":
        """The folder at `path`, which need not exist yet."""
        return cls(path.expanduser().resolve())

    @property
    def logs(self) -> Path:
        """Folder of the log files."""
        return self.path / "logs"

    def log_file(self, service: str) -> Path:
        """The log file of a service."""
        return self.logs / f"{service}.log"

    def exists(self) -> bool:
        """Whether a stack was ever started here."""
        return (self.path / "stack.json").is_file()

    def make(self) -> None:
        """The folder and those in it, for this user alone."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("logs", "s3", "prefect", "cache"):
            (self.path / name).mkdir(exist_ok=True, mode=0o700)

    def record(self) -> Record:
        """What was started here. Raises `StackError` for a file that is damaged."""
        path = self.path / "stack.json"
        try:
            return Record.model_validate_json(path.read_text())
        except FileNotFoundError:
            return Record()
        except (ValidationError, ValueError) as error:
            raise StackError(f"{path} cannot be read ({error}): move it away, and end its processes by hand") from error

    def keep(self, record: Record) -> None:
        """Write stack.json, whole or not at all."""
        _write(self.path / "stack.json", record.model_dump_json(indent=2) + "\n")

    def credentials(self) -> Credentials:
        """The identity in s3.json, made at random where there is none."""
        path = self.path / "s3.json"
        if not path.exists():
            made = Credentials("TR" + secrets.token_hex(9).upper(), secrets.token_urlsafe(30))
            _write(path, json.dumps(_identities(made), indent=2) + "\n")
        key = json.loads(path.read_text())["identities"][0]["credentials"][0]
        return Credentials(key["accessKey"], key["secretKey"])

    def write_env(self, exported: Mapping[str, str]) -> None:
        """The file `env`, for `source`."""
        _write(self.path / "env", shell_lines(exported))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Held while processes are started or ended here. Raises `StackError` if another command holds it."""
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"another `stack` command is running on {self.path}: try again when it has ended"
                ) from None
            yield

    def wipe(self) -> None:
        """Remove what a stack keeps, and the folder if nothing else is in it."""
        for name in (*KEPT, "lock"):
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()


def exported(folder: StackFolder, ports: Mapping[str, int]) -> dict[str, str]:
    """What a shell needs so that `thinkreward`, `prefect` and `mlflow` use this stack. Holds the S3 secret."""
    access_key, secret_key = folder.credentials()
    tracking = f"http://{HOST}:{ports['mlflow']}"
    return {
        "PREFECT_API_URL": f"http://{HOST}:{ports['prefect']}/api",
        # The automation takes a run for dead after three of these; Prefect's own 180 s would be taken for silence.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": f"http://{HOST}:{ports['s3']}",
        "MLFLOW_TRACKING_URI": tracking,
        "THINKREWARD__STORAGE__ROOT": f"s3://{BUCKET}/store",
        "THINKREWARD__STORAGE__CACHE_DIR": str(folder.path / "cache"),
        "THINKREWARD__TRACKING__URI": tracking,
    }


def shell_lines(exported: Mapping[str, str], environ: Mapping[str, str] | None = None) -> str:
    """`export` lines, and `unset` for what `environ` has set that would lead past the stack."""
    unset = [f"unset {name}\n" for name in MISLEADING if name in (environ or {})]
    return "".join([*unset, *(f"export {name}={shlex.quote(value)}\n" for name, value in exported.items())])


def assign_ports(kept: Mapping[str, int], wanted: Iterable[str]) -> dict[str, int]:
    """A port for each name: those `kept`, where `wanted` ones that are taken by now get another."""
    ports = dict(kept)
    for name in wanted:
        spans = _spans(name, ports.get(name, 0))
        if name not in ports or not all(is_free(port) for port in spans):
            others = {port for other, at in ports.items() if other != name for port in _spans(other, at)}
            ports[name] = _choose(name, others)
    return ports


def is_free(port: int) -> bool:
    """Whether this machine lets a server listen on 127.0.0.1 at `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _spans(name: str, port: int) -> tuple[int, ...]:
    return (port, port + GRPC_ABOVE) if name.startswith("s3") else (port,)


def _choose(name: str, avoided: set[int]) -> int:
    for port in range(PORTS[name], PORTS[name] + NEARBY):
        if all(one not in avoided and is_free(one) for one in _spans(name, port)):
            return port
    raise StackError(f"no free port for {name} from {PORTS[name]} to {PORTS[name] + NEARBY - 1}: end what holds them")


def _identities(made: Credentials) -> dict[str, Any]:
    """The S3 server's configuration: one identity, which may make its bucket."""
    keys = [{"accessKey": made.access_key, "secretKey": made.secret_key}]
    return {
        "identities": [{"name": BUCKET, "credentials": keys, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]
    }


def _write(path: Path, text: str) -> None:
    """Whole or not at all, for this user's eyes alone."""
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    aside.replace(path)
