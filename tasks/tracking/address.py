"""Which MLflow a URI means, and the error when it does not answer. Knows no MLflow itself."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from models.errors import TrackingError, TrackingUnreachable

Result = TypeVar("Result")

SQLITE = "sqlite:///"
BESIDE = ("-wal", "-journal")  # sqlite's files of changes that are not, or may not stay, in the database itself
ANSWER_S = 10.0  # a server that takes longer to answer counts as away
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # MLflow's own 120 s and 7 retries would hold up a training step for minutes; the spool is our retry.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for people and --json
    # A uv.lock where a command happens to run is no part of a saved model.
    "MLFLOW_UV_AUTO_DETECT": "false",
}


def set_environment() -> None:
    """Telemetry off and short requests, unless the environment says otherwise; before MLflow is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def absolute_uri(uri: str) -> str:
    """The URI with an absolute path, so that it means the same from every folder and process.

    Raises `TrackingError` for one that MLflow 3 does not serve.
    """
    if uri.startswith(SQLITE):
        path = uri.removeprefix(SQLITE)
        if not path or path == ":memory:":
            raise TrackingError(f"the tracking URI {uri!r} names no file: use sqlite:///folder/mlflow.db")
        return SQLITE + str(Path(path).expanduser().absolute())
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme in ("", "file") or uri.startswith("sqlite:"):
        raise TrackingError(
            f"the tracking URI {uri!r} is not served by MLflow 3: use sqlite:///folder/mlflow.db for a local database, "
            "or the http:// address of a server (tracking.uri)"
        )
    return uri


def database_file(uri: str) -> Path | None:
    """The file of a sqlite URI; None for all others."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def settled_database(uri: str) -> Path | None:
    """The file of a sqlite URI if it is there and holds all that its database does; None for all others."""
    file = database_file(uri)
    if file is None or not file.is_file() or any(Path(f"{file}{end}").exists() for end in BESIDE):
        return None
    return file


def without_credentials(uri: str) -> str:
    """The URI without a password or user in it."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def within(uri: str, action: Callable[[], Result]) -> Result:
    """What `action` gives, if it gives it soon. Raises `TrackingError` otherwise.

    In a thread that is left behind: MLflow retries a database server that is away for most of an hour. A sqlite file
    has been tried before, and its first tables may take a while.
    """
    if database_file(uri) is not None:
        return explained(uri, action)
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(explained(uri, action))
        except BaseException as error:  # noqa: BLE001 (raised again below)
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True, name="mlflow-probe")
    thread.start()
    thread.join(ANSWER_S)
    if errors:
        raise errors[0]
    if not results:
        raise _unreachable(uri, f"no answer within {ANSWER_S:.0f} s")
    return results[0]


def explained(uri: str, action: Callable[[], Result]) -> Result:
    """What `action` gives; whatever MLflow raises becomes a `TrackingError` with the URI and the cure."""
    try:
        return action()
    except TrackingError:
        raise
    # requests, urllib3, SQLAlchemy, alembic and MLflow have no common root.
    except Exception as error:
        raise _unreachable(uri, str(error).strip().split("\n")[0][:400]) from error


def _unreachable(uri: str, reason: str) -> TrackingError:
    kind = TrackingError
    if database_file(uri) is not None:
        cure = "choose a path that can be written, or make this one writable"
    elif uri.startswith(("http://", "https://")):
        kind = TrackingUnreachable
        cure = "start the server (`mlflow server`), check the address and MLFLOW_TRACKING_* credentials, or use"
        cure += " tracking.uri=sqlite:///.thinkreward/mlflow.db"
    else:
        cure = "check that the database server runs and its driver is installed, or use"
        cure += " tracking.uri=sqlite:///.thinkreward/mlflow.db"
    where = without_credentials(uri)
    return kind(f"MLflow at {where} cannot be used: {reason.replace(uri, where)}. Fix: {cure}")


def check_database(database: Path, uri: str) -> None:
    """Creates the folder, and takes the write lock once, since MLflow would retry for an hour.

    Raises `TrackingError` for a path that cannot be written and for a file that is no database.
    """
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(database, timeout=20)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise _unreachable(uri, str(error)) from error


@contextmanager
def one_at_a_time(database: Path) -> Iterator[None]:
    """Held while tables are made or checked: two processes making them at once would fail."""
    with database.with_name(database.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
