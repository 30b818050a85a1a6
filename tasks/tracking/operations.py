"""One run as MLflow has it: the operations on it, each of which may be repeated with the same arguments.

What an earlier attempt delivered is found and not added again: a run by its token, a metric by its step and value, a
checkpoint by its name and step. Operations raise what MLflow raises, but for a value that MLflow refuses for good: that
is logged and counted in `refused`.
"""

import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.errors import TrackingError
from tasks.tracking.address import without_credentials
from tasks.tracking.client import Experiment, is_refusal
from tasks.tracking.sync import Record
from tasks.tracking.values import LONGEST_TAG, first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]

BATCH = 100  # entries of a request: MLflow's limit, which it applies by refusing
TOKEN_TAG = "thinkreward.token"  # noqa: S105  (of one run over all attempts, by which it is found again)
TABLES_TAG = "mlflow.loggedArtifacts"  # what the tables view of MLflow's page lists


class RemoteRun:
    """A run in MLflow, made by the operation `begin`; `run_id` is None before that.

    Args:
        experiment: where it is.
        run_id: of the run to resume; another is made if it is gone.
        token: by which it is found where its creation was answered and the answer lost; empty: it is not looked for.
        attempted: whether its creation may have been asked for already.
        resumed: whether what is logged may have been logged before.
    """

    def __init__(
        self, experiment: Experiment, run_id: str | None, *, token: str, attempted: bool, resumed: bool
    ) -> None:
        self.run_id = run_id
        self.refused = 0
        self._experiment = experiment
        self._token = token
        self._attempted = attempted
        self._resumed = resumed
        self._history: dict[str, dict[int, float]] = {}

    @property
    def _client(self) -> "MlflowClient":
        return self._experiment.client

    @property
    def _id(self) -> str:
        if self.run_id is None:
            raise TrackingError("the run could not be created yet")
        return self.run_id

    def apply(self, record: Record) -> None:
        """Apply a record. Raises what MLflow raises, but for what it refuses for good."""
        operations: dict[str, Callable[..., None]] = {
            "begin": self._begin, "finish": self._finish, "metrics": self._metrics, "text": self._text,
            "table": self._table, "file": self._file, "checkpoint": self._checkpoint,
        }  # fmt: skip
        if record["do"] != "begin":
            _ = self._id
        try:
            operations[record["do"]](**record["with"])
        except Exception as error:
            if record["do"] == "begin" or not is_refusal(error) or self._is_gone():
                raise
            self._refuse(record["do"], error)

    def _refuse(self, what: str, error: Exception) -> None:
        self.refused += 1
        logger.warning(
            "MLflow at %s refused %s: %s", without_credentials(self._experiment.uri), what, first_line(error)
        )

    def _is_gone(self) -> bool:
        """Whether MLflow refuses everything of this run, which was deleted: a later delivery makes it again."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(self._id).info.lifecycle_stage != "active")
        except MlflowException as error:
            return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")

    def _send(self, what: str, entries: Sequence[Any], send: Callable[[Sequence[Any]], object]) -> None:
        """In MLflow's batches. Of a batch that is refused all are tried alone, so that one bad value costs itself."""
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            try:
                send(batch)
            except Exception as error:
                if not is_refusal(error) or self._is_gone():
                    raise
                if len(batch) == 1:
                    self._refuse(f"{what} {batch[0].key}", error)
                    continue
                for one in batch:
                    self._send(what, [one], send)

    def _begin(self, name: str, tags: dict[str, str], params: dict[str, str], time_ms: int) -> None:
        from mlflow.entities import Param, RunTag

        if self.run_id is None:
            self.run_id = self._found()
        known = self._resume()
        if self.run_id is None:
            self.run_id = self._created(name, time_ms)
        # A parameter never changes in MLflow. What a resumed run was given again is kept as a tag.
        changed = {f"resumed.{key}": value for key, value in params.items() if known.get(key, value) != value}
        run_id = self._id
        self._send(
            "the parameter",
            [Param(key, value) for key, value in params.items() if key not in known],
            lambda batch: self._client.log_batch(run_id, params=batch, synchronous=True),
        )
        self._send(
            "the tag",
            [RunTag(key, value) for key, value in {**tags, **changed}.items()],
            lambda batch: self._client.log_batch(run_id, tags=batch, synchronous=True),
        )

    def _found(self) -> str | None:
        """The run that an earlier attempt made, whose answer did not reach us."""
        if not self._token or not self._attempted:
            return None
        of_token = f"tags.`{TOKEN_TAG}` = '{self._token}'"
        found = self._client.search_runs([self._experiment_id()], filter_string=of_token, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _created(self, name: str, time_ms: int) -> str:
        tags = {TOKEN_TAG: self._token} if self._token else None
        self._attempted = True
        run = self._client.create_run(self._experiment_id(), start_time=time_ms, run_name=name, tags=tags)
        return str(run.info.run_id)

    def _experiment_id(self) -> str:
        """Looked up again after an attempt: the experiment may have been deleted, and made again, since."""
        if self._attempted:
            self._experiment.forget_id()
        return self._experiment.experiment_id

    def _resume(self) -> dict[str, str]:
        """Reopens the run if there is one, and gives its parameters."""
        from mlflow.exceptions import MlflowException

        if self.run_id is None:
            return {}
        try:
            run = self._client.get_run(self.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            run = None
        if run is None or run.info.lifecycle_stage != "active":
            logger.warning(
                "Run %s is gone from %s: a new run is made", self.run_id, without_credentials(self._experiment.uri)
            )
            self.run_id = None
            return {}
        self._resumed = True
        self._client.update_run(self.run_id, status="RUNNING")
        return dict(run.data.params)

    def _finish(self, status: Status, time_ms: int) -> None:
        self._client.set_terminated(self._id, status, time_ms)

    def _metrics(self, values: dict[str, float], step: int, time_ms: int, model_id: str | None = None) -> None:
        from mlflow.entities import Metric

        new = {name: value for name, value in values.items() if model_id or not self._has(name, step, value)}
        self._send(
            "the metric",
            [Metric(name, value, time_ms, step, model_id=model_id) for name, value in new.items()],
            lambda batch: self._client.log_batch(self._id, metrics=batch, synchronous=True),
        )
        for name, value in new.items():
            if self._resumed and not model_id:
                self._history[name][step] = value

    def _has(self, name: str, step: int, value: float) -> bool:
        """Whether an earlier attempt of this run logged the same value for the step."""
        if not self._resumed:
            return False
        if name not in self._history:
            points = self._client.get_metric_history(self._id, name)
            self._history[name] = {point.step: point.value for point in points}
        known = self._history[name].get(step)
        return known is not None and (known == value or (math.isnan(known) and math.isnan(value)))

    def _text(self, path: str, text: str) -> None:
        self._client.log_text(self._id, text, path)

    def _table(self, path: str, text: str) -> None:
        self._text(path, text)
        listed = json.loads(self._client.get_run(self._id).data.tags.get(TABLES_TAG, "[]"))
        entry = {"path": path, "type": "table"}
        if entry not in listed:
            listed.append(entry)
            while len(json.dumps(listed)) > LONGEST_TAG:
                listed.pop(0)  # the file stays; only the view forgets the oldest
            self._client.set_tag(self._id, TABLES_TAG, json.dumps(listed), synchronous=True)

    def _file(self, source: str, path: str, kept: str = "") -> None:
        if not Path(source).is_file():
            self._refuse(f"the file {path}", FileNotFoundError(f"{source} is not there any more"))
            return
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as aside:
            named = Path(aside, name)
            os.symlink(Path(source).resolve(strict=True), named)
            self._client.log_artifact(self._id, str(named), folder or None)

    def _checkpoint(
        self, name: str, step: int, values: dict[str, float], uri: str, params: dict[str, str], time_ms: int
    ) -> None:
        from mlflow.entities import LoggedModelOutput
        from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL

        model = self._logged_model(name, step)
        if model is None:
            tags = {MLFLOW_MODEL_IS_EXTERNAL: "true", "thinkreward.step": str(step), "thinkreward.uri": uri}
            model = self._client.create_logged_model(
                self._experiment.experiment_id, name=name, source_run_id=self._id, tags=tags,
                params={**params, "step": str(step), "uri": uri}, model_type="checkpoint",
            )  # fmt: skip
        known = {metric.key for metric in model.metrics or () if metric.step == step}
        new = {key: value for key, value in values.items() if key not in known}
        self._metrics(new, step, time_ms, model_id=model.model_id)
        outputs = self._client.get_run(self._id).outputs
        if model.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
            self._client.log_outputs(self._id, [LoggedModelOutput(model.model_id, step)])
        self._client.finalize_logged_model(model.model_id, "READY")

    def _logged_model(self, name: str, step: int) -> "LoggedModel | None":
        """The logged model that this run already has for the step."""
        wanted = f"name = '{name}' AND source_run_id = '{self._id}' AND tags.`thinkreward.step` = '{step}'"
        found = self._client.search_logged_models([self._experiment.experiment_id], filter_string=wanted, max_results=1)
        return found[0] if found else None
