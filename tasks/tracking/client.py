"""MLflow's client for an experiment, opened without waiting long, and what is read through it.

    experiment = Experiment.connect(uri, "thinkreward")    # TrackingError, with the cure
    experiment.client.get_run(run_id)

MLflow is imported when it is first used, since that takes seconds.
"""

import json
import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from models.errors import TrackingError
from tasks.tracking.address import (
    absolute_uri,
    check_database,
    database_file,
    explained,
    one_at_a_time,
    set_environment,
    within,
    without_credentials,
)
from tasks.tracking.values import clean_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What a server answers of a value itself, so that no later attempt can help. All others may be an outage: a run or
# experiment that is gone, a full disk behind the server, and the pages of a proxy, whatever their status.
REFUSALS = frozenset({"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS"})


class Experiment:
    """One experiment of one MLflow. Get one through `connect`, or `later` where an outage must not stop work."""

    def __init__(self, uri: str, name: str) -> None:
        self.uri = uri
        self.name = name

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's own client. Raises `TrackingError`: for a database server that is away, already here."""
        return open_client(self.uri)

    @cached_property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment, which is created if it is new. Raises what MLflow raises."""
        return _experiment_id(self.client, self.uri, self.name)

    def forget_id(self) -> None:
        """Look the id up again when it is next asked for: the experiment may have been deleted, and made again."""
        self.__dict__.pop("experiment_id", None)

    @classmethod
    def connect(cls, uri: str, experiment: str) -> Self:
        """The experiment, which is created if it is new; the database too if `uri` is sqlite.

        Answers within seconds (a new sqlite database takes about five). Raises `TrackingError` naming the
        URI and the cure if MLflow cannot be reached or refuses.
        """
        made = cls.later(uri, experiment)
        _ = made.client
        within(made.uri, lambda: made.experiment_id)
        return made

    @classmethod
    def later(cls, uri: str, experiment: str) -> Self:
        """The same without asking whether MLflow answers: what it misses waits in the run's spool."""
        return cls(absolute_uri(uri), experiment)


def open_client(uri: str) -> "MlflowClient":
    """A client for a normalised URI. A new sqlite database gets its tables here, by one process at a time.

    Raises `TrackingError`.
    """
    set_environment()
    database = database_file(uri)
    if database is None:
        return within(uri, lambda: _client(uri))
    check_database(database, uri)
    with one_at_a_time(database):
        return explained(uri, lambda: _client(uri))


def read_tables(uri: str, run_id: str, name: str) -> list[tuple[int, list[dict[str, Any]]]]:
    """What a run logged with `log_table` under this name: the step and the rows of each, in order.

    Raises `TrackingError`.
    """
    uri = absolute_uri(uri)
    client = open_client(uri)

    def read() -> list[tuple[int, list[dict[str, Any]]]]:
        found = []
        for one in client.list_artifacts(run_id, "tables"):
            stem, _, step = Path(one.path).stem.rpartition("-")
            if stem == clean_name(name) and step.isdigit():
                table = json.loads(Path(client.download_artifacts(run_id, one.path)).read_text())
                rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
                found.append((int(step), rows))
        return sorted(found, key=lambda one: one[0])

    return within(uri, read)


def is_refusal(error: Exception) -> bool:
    """Whether MLflow refuses the value itself, so that a later attempt cannot help."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code in REFUSALS


def _client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    # Its own report of a database error is a traceback; ours is one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment_id(client: "MlflowClient", uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        database = database_file(uri)
        location = (database.parent / "mlflow-artifacts").as_uri() if database else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # made by another process meanwhile
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        number = found.experiment_id if found else "?"
        raise TrackingError(
            f"the experiment {name!r} in {without_credentials(uri)} is deleted: bring it back with `mlflow experiments "
            f"restore --experiment-id {number}`, or choose another with tracking.experiment"
        )
    return str(found.experiment_id)
