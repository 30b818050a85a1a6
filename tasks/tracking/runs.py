"""MLflow tracking: refused before work starts if it cannot be reached, and never a reason to stop work after that.

    tracker = Tracker.connect(uri, experiment)                 # TrackingError, with the cure
    with tracker.run("grpo", params=…, run_id=earlier, spool=work / "tracking.jsonl") as run:
        run.log_metrics({"reward/accuracy": 0.7}, step=10)

What cannot be delivered waits in the spool (tasks/tracking/sync.py) and is delivered in order when MLflow answers
again; what still waits at the end goes to the store (tasks/tracking/outbox.py), from where a later run or `thinkreward
sync` delivers it. Records carry the time they were made, so what is delivered twice is one point in MLflow, and a
resumed run that logs the same value for a step again adds nothing. This module and tasks/tracking/registry.py are the
only ones in tasks/ that know MLflow; it is imported when it is first used, since that takes seconds.
"""

import json
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.errors import ThinkrewardError, TrackingError
from tasks.tracking.address import (
    check_database,
    database_file,
    explained,
    normalised,
    one_at_a_time,
    set_environment,
    shown,
    within,
)
from tasks.tracking.sync import Record, Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from tasks.tracking.outbox import About, Outbox

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]

RETRY_PAUSE_S = 5.0  # after a failure nothing is tried for so long, then twice as long, up to the next line
LONGEST_PAUSE_S = 60.0
FAILURES_AT_THE_END = 3  # in a row, then the rest is left for later
KEEP_EVERY_S = 60.0  # while MLflow is away, what waits is copied to the store so often
# What a server answers of a value itself, so that no later attempt can help. All others may be an outage: a run or
# experiment that is gone, a full disk behind the server, and the pages of a proxy, whatever their status.
REFUSALS = frozenset({"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS"})
TOKEN_TAG = "thinkreward.token"  # noqa: S105  (of one run over all attempts, by which it is found again)
LONGEST_PARAM, LONGEST_TAG, BATCH = 6000, 5000, 100  # MLflow's limits, which it applies by refusing
TABLES_TAG = "mlflow.loggedArtifacts"  # what the tables view of MLflow's page lists


class Tracker:
    """One experiment of one MLflow. Get one through `connect`, or `later` where an outage must not stop work."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = uri
        self.experiment = experiment

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's own client. Raises `TrackingError`: for a database server that is away, already here."""
        return open_client(self.uri)

    @cached_property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment, which is created if it is new. Raises what MLflow raises."""
        return _experiment_id(self.client, self.uri, self.experiment)

    @classmethod
    def connect(cls, uri: str, experiment: str) -> "Tracker":
        """The tracker of an experiment, which is created if it is new; the database too if `uri` is sqlite.

        Answers within seconds (a new sqlite database takes about five). Raises `TrackingError` naming the
        URI and the cure if MLflow cannot be reached or refuses.
        """
        tracker = cls.later(uri, experiment)
        _ = tracker.client
        within(tracker.uri, lambda: tracker.experiment_id)
        return tracker

    @classmethod
    def later(cls, uri: str, experiment: str) -> "Tracker":
        """The same without asking whether MLflow answers: what it misses waits in the run's spool."""
        return cls(normalised(uri), experiment)

    @contextmanager
    def run(
        self,
        name: str,
        *,
        tags: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        run_id: str | None = None,
        parent: str | None = None,
        spool: Path | None = None,
        outbox: "tuple[Outbox, About] | None" = None,
        attempted: bool = False,
        retry_pause_s: float = RETRY_PAUSE_S,
    ) -> Iterator["TrackedRun"]:
        """A run, ended as FINISHED, FAILED (an error) or KILLED (Ctrl-C, cancellation) with the block.

        `run_id` resumes that run; if it is gone, a new one is made. `parent` nests it below another run's id.
        `spool` is the file for what cannot be delivered, `outbox` where it goes at the end; a resumed stage should give
        the same ones, and say with `attempted` that its run may be there although its id is not known. Never raises
        because of MLflow.
        """
        left = _taken(outbox[0], spool) if outbox else []
        run = TrackedRun(self, run_id, Spool(spool, left), retry_pause_s, outbox, attempted)
        run.begin(name, {**(tags or {}), **({"mlflow.parentRunId": parent} if parent else {})}, params or {})
        try:
            yield run
        except Exception:
            run.finish("FAILED")
            raise
        except BaseException as stop:  # KeyboardInterrupt, cancellation, SystemExit
            run.finish("FINISHED" if isinstance(stop, SystemExit) and not stop.code else "KILLED")
            raise
        else:
            run.finish("FINISHED")


class TrackedRun:
    """One MLflow run. Its methods are safe to call from several threads and never raise because of MLflow."""

    def __init__(
        self,
        tracker: Tracker,
        run_id: str | None,
        spool: Spool,
        retry_pause_s: float,
        outbox: "tuple[Outbox, About] | None" = None,
        attempted: bool = False,
    ) -> None:
        self._tracker = tracker
        self._run_id = run_id
        self._outbox = outbox
        self._kept = 0  # records that the outbox has and the spool no longer
        self._kept_at = time.monotonic()
        self._in_outbox = bool(outbox) and len(spool) > 0
        self._begin: Record | None = None
        self._end: Record | None = None
        self._spool = spool
        self._lock = threading.RLock()
        self._first_pause = self._pause = retry_pause_s
        self._not_before = 0.0
        self._out = False
        self._refused = 0
        self._asked = attempted  # for the run's creation, to which the answer may have been lost
        self._resumed = attempted or len(spool) > 0  # so that what is logged may have been logged before
        self._history: dict[str, dict[int, float]] = {}

    @property
    def _client(self) -> "MlflowClient":
        return self._tracker.client

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty as long as it could not be created."""
        return self._run_id or ""

    @property
    def url(self) -> str:
        """Where to look at it: a link, or for a database the command that shows it."""
        uri = shown(self._tracker.uri)
        if uri.startswith(("http://", "https://")):
            try:
                return f"{uri.rstrip('/')}/#/experiments/{self._tracker.experiment_id}/runs/{self.run_id}"
            except Exception as error:  # noqa: BLE001  (a resumed run of a server that is away: requests, MLflow, …)
                logger.debug("no link to run %s: %s", self.run_id, error)
                return uri
        return f"mlflow ui --backend-store-uri '{uri}'  # run {self.run_id}"

    @property
    def lost(self) -> int:
        """Records that have not reached MLflow: still waiting, or refused by it."""
        return self._refused + len(self._spool) + self._kept

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds one value a metric at `step`. Names are cleaned of characters that MLflow refuses."""
        self._log("metrics", values=_numbers(metrics), step=int(step), time_ms=_now_ms())

    def log_table(self, name: str, columns: Mapping[str, Sequence[object]], step: int) -> None:
        """Stores a table, column by column, as `tables/<name>-<step>.json` in the form that MLflow's page shows."""
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        text = json.dumps({"columns": list(columns), "data": rows}, default=str, ensure_ascii=False)
        self._log("table", path=f"tables/{_clean(name)}-{step:06d}.json", text=text)

    def log_text(self, name: str, text: str) -> None:
        """Stores a text as the file `name` (may hold folders) of the run."""
        self._log("text", path=name, text=text)

    def log_file(self, path: Path, name: str | None = None) -> None:
        """Stores a copy of a local file as `name` (may hold folders) of the run, by default under its own name."""
        self._log("file", source=str(path), path=name or path.name)

    def log_checkpoint(
        self, name: str, step: int, metrics: Mapping[str, float], uri: str, params: Mapping[str, object] | None = None
    ) -> None:
        """Shows a checkpoint as an MLflow logged model of this run, with its step, metrics and `uri`.

        No weight is copied: the bytes stay in the artifact store, at `uri`.
        """
        self._log(
            "checkpoint",
            name=_clean(name), step=int(step), values=_numbers(metrics), uri=uri,
            params=_strings(params or {}, LONGEST_PARAM), time_ms=_now_ms(),
        )  # fmt: skip

    def begin(self, name: str, tags: Mapping[str, object], params: Mapping[str, object]) -> None:
        """Creates or resumes the run; `Tracker.run` calls it."""
        # What an earlier process could not deliver. How that process ended no longer matters, but when it began does.
        waiting = self._spool.waiting()
        began = [record["with"]["time_ms"] for record in waiting if record["do"] == "begin"]
        record: Record = {
            "do": "begin",
            "with": {
                "name": name,
                "tags": _strings(tags, LONGEST_TAG),
                "params": _strings(params, LONGEST_PARAM),
                "time_ms": min([*began, _now_ms()]),
            },
        }
        with self._lock:
            self._begin = record
            left = [record for record in waiting if record["do"] not in ("begin", "finish")]
            if not self._deliver(record):
                self._spool.replace([record, *left])
            elif waiting:
                self._spool.replace(left)
                self._catch_up()

    def finish(self, status: Status) -> None:
        """Ends the run after a last attempt at what waits; `Tracker.run` calls it. Says what is still missing."""
        with self._lock:
            self._not_before = 0.0
            self._end = {"do": "finish", "with": {"status": status, "time_ms": _now_ms()}}
            self._log("finish", **self._end["with"])
            if len(self._spool):
                self._not_before = 0.0
                self._catch_up(final=True)
            if self.lost:
                where = shown(self._tracker.uri)
                logger.warning("MLflow at %s misses %d records of run %s", where, self.lost, self.run_id or "to come")
            if len(self._spool) and self._keep():
                self._kept = len(self._spool)
                self._spool.replace([])
            elif len(self._spool) and self._spool.path:
                logger.warning("%s keeps them; a resumed run delivers them", self._spool.path)

    def replay(self, records: list[Record]) -> int:
        """Delivers what an ended run left in its outbox, in order, and gives how many it could not deliver yet.

        May be repeated: what MLflow has is not added again, and what it took before an answer was lost is found.
        """
        with self._lock:
            self._begin = next(record for record in records if record["do"] == "begin")
            ends = [record for record in records if record["do"] == "finish"]
            last_ms = max(record["with"].get("time_ms", 0) for record in records)
            self._end = ends[-1] if ends else {"do": "finish", "with": {"status": "KILLED", "time_ms": last_ms}}
            between = [record for record in records if record["do"] not in ("begin", "finish")]
            self._in_outbox = True
            self._spool.replace([self._begin, *between, self._end])
            self._catch_up(final=True)
            if len(self._spool):
                self._keep()
            return len(self._spool)

    def _log(self, operation: str, **arguments: Any) -> None:
        record: Record = {"do": operation, "with": arguments}
        with self._lock:
            if not len(self._spool) and self._deliver(record):
                return
            if operation == "file":
                arguments["source"] = str(self._spool.keep_file(Path(arguments["source"])))
            self._spool.add(record)
            if time.monotonic() >= self._not_before:
                self._catch_up()
            if len(self._spool) and time.monotonic() - self._kept_at > KEEP_EVERY_S:
                self._keep()

    def _keep(self) -> bool:
        """Copies what waits to the outbox, with what it takes to find the run and to end it; whether that was done."""
        if self._outbox is None or self._begin is None:
            return False
        outbox, about = self._outbox
        between = [record for record in self._spool.waiting() if record["do"] not in ("begin", "finish")]
        records = [self._begin, *between, *([self._end] if self._end else [])]
        self._kept_at = time.monotonic()
        try:
            outbox.put(about.model_copy(update={"run_id": self.run_id}), records)
        except ThinkrewardError as error:
            logger.warning("what MLflow misses cannot be kept in %s: %s", outbox.uri, error)
            return False
        self._in_outbox = True
        return True

    def _catch_up(self, *, final: bool = False) -> None:
        """Delivers what waits, in order, up to the first failure; at the end, past single failures.

        Nothing goes past a run that could not be created, nor past an older state of the same file.
        """
        kept: list[Record] = []
        held: set[str] = set()
        waiting = self._spool.waiting()
        in_a_row = 0
        for at, record in enumerate(waiting):
            path = str(record["with"].get("path", ""))
            if path not in held and self._deliver(record):
                in_a_row = 0
                continue
            kept.append(record)
            held |= {path} - {""}
            in_a_row += 1
            if not final or record["do"] == "begin" or in_a_row == FAILURES_AT_THE_END:
                kept += waiting[at + 1 :]
                break
            self._not_before = 0.0
        if len(kept) < len(waiting):
            self._spool.replace(kept)
        if not kept:
            self._emptied()
            logger.info("MLflow at %s has caught up: %d records delivered", shown(self._tracker.uri), len(waiting))

    def _emptied(self) -> None:
        if self._outbox is None or not self._in_outbox:
            return
        try:
            self._outbox[0].clear()
        except ThinkrewardError as error:  # delivered once more by the next run, which adds nothing
            logger.warning("what was delivered stays in %s: %s", self._outbox[0].uri, error)
        else:
            self._in_outbox = False

    def _deliver(self, record: Record) -> bool:
        """Whether MLflow is done with the record: it has it, or has refused it for good."""
        if time.monotonic() < self._not_before:
            return False
        try:
            if self._run_id is None and record["do"] != "begin":
                raise TrackingError("the run could not be created yet")
            getattr(self, f"_do_{record['do']}")(**record["with"])
        # Tracking must not stop work, whatever goes wrong in it.
        except Exception as error:  # noqa: BLE001
            if record["do"] != "begin" and _is_refusal(error) and not self._is_gone():
                self._refuse(record["do"], error)
                return True
            self._failed(error)
            return False
        self._out = False
        self._pause = self._first_pause
        return True

    def _refuse(self, what: str, error: Exception) -> None:
        self._refused += 1
        logger.warning("MLflow at %s refused %s: %s", shown(self._tracker.uri), what, _short(error))

    def _is_gone(self) -> bool:
        """Whether MLflow refuses everything of this run, which was deleted: a later delivery makes it again."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(self.run_id).info.lifecycle_stage != "active")
        except MlflowException as error:
            return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")

    def _send(self, what: str, entries: Sequence[Any], send: Callable[[Sequence[Any]], object]) -> None:
        """In MLflow's batches. Of a batch that is refused all are tried alone, so that one bad value costs itself."""
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            try:
                send(batch)
            except Exception as error:
                if not _is_refusal(error) or self._is_gone():
                    raise
                if len(batch) == 1:
                    self._refuse(f"{what} {batch[0].key}", error)
                    continue
                for one in batch:
                    self._send(what, [one], send)

    def _failed(self, error: Exception) -> None:
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
        if not self._out:
            where = self._spool.path or "memory"
            logger.warning(
                "MLflow at %s failed: %s. Work goes on; what is tracked waits in %s until it answers again",
                shown(self._tracker.uri), _short(error), where,
            )  # fmt: skip
        self._out = True

    # One method an operation; each may be repeated with the same arguments.

    def _do_begin(self, name: str, tags: dict[str, str], params: dict[str, str], time_ms: int) -> None:
        from mlflow.entities import Param, RunTag

        if self._run_id is None:
            self._run_id = self._found()
        known = self._resume()
        if self._run_id is None:
            self._run_id = self._created(name, time_ms)
        # A parameter never changes in MLflow. What a resumed run was given again is kept as a tag.
        changed = {f"resumed.{key}": value for key, value in params.items() if known.get(key, value) != value}
        run_id = self._run_id
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
        if self._outbox is None or not self._asked:
            return None
        of_token = f"tags.`{TOKEN_TAG}` = '{self._outbox[0].token}'"
        found = self._client.search_runs([self._experiment()], filter_string=of_token, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _created(self, name: str, time_ms: int) -> str:
        tags = {TOKEN_TAG: self._outbox[0].token} if self._outbox else None
        self._asked = True
        run = self._client.create_run(self._experiment(), start_time=time_ms, run_name=name, tags=tags)
        return str(run.info.run_id)

    def _experiment(self) -> str:
        """Its id, looked up again: it may have been deleted, and made again, since the last attempt."""
        if self._asked:
            self._tracker.__dict__.pop("experiment_id", None)
        return self._tracker.experiment_id

    def _resume(self) -> dict[str, str]:
        """Reopens the run if there is one, and gives its parameters."""
        from mlflow.exceptions import MlflowException

        if self._run_id is None:
            return {}
        try:
            run = self._client.get_run(self._run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            run = None
        if run is None or run.info.lifecycle_stage != "active":
            logger.warning("Run %s is gone from %s: a new run is made", self._run_id, shown(self._tracker.uri))
            self._run_id = None
            return {}
        self._resumed = True
        self._client.update_run(self._run_id, status="RUNNING")
        return dict(run.data.params)

    def _do_finish(self, status: Status, time_ms: int) -> None:
        self._client.set_terminated(self.run_id, status, time_ms)

    def _do_metrics(self, values: dict[str, float], step: int, time_ms: int, model_id: str | None = None) -> None:
        from mlflow.entities import Metric

        new = {name: value for name, value in values.items() if model_id or not self._has(name, step, value)}
        self._send(
            "the metric",
            [Metric(name, value, time_ms, step, model_id=model_id) for name, value in new.items()],
            lambda batch: self._client.log_batch(self.run_id, metrics=batch, synchronous=True),
        )
        for name, value in new.items():
            if self._resumed and not model_id:
                self._history[name][step] = value

    def _has(self, name: str, step: int, value: float) -> bool:
        """Whether an earlier attempt of this run logged the same value for the step."""
        if not self._resumed:
            return False
        if name not in self._history:
            points = self._client.get_metric_history(self.run_id, name)
            self._history[name] = {point.step: point.value for point in points}
        known = self._history[name].get(step)
        return known is not None and (known == value or (math.isnan(known) and math.isnan(value)))

    def _do_text(self, path: str, text: str) -> None:
        self._client.log_text(self.run_id, text, path)

    def _do_table(self, path: str, text: str) -> None:
        self._do_text(path, text)
        listed = json.loads(self._client.get_run(self.run_id).data.tags.get(TABLES_TAG, "[]"))
        entry = {"path": path, "type": "table"}
        if entry not in listed:
            listed.append(entry)
            while len(json.dumps(listed)) > LONGEST_TAG:
                listed.pop(0)  # the file stays; only the view forgets the oldest
            self._client.set_tag(self.run_id, TABLES_TAG, json.dumps(listed), synchronous=True)

    def _do_file(self, source: str, path: str, kept: str = "") -> None:
        import tempfile

        if not Path(source).is_file():
            self._refuse(f"the file {path}", FileNotFoundError(f"{source} is not there any more"))
            return

        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as aside:
            named = Path(aside, name)
            os.symlink(Path(source).resolve(strict=True), named)
            self._client.log_artifact(self.run_id, str(named), folder or None)

    def _do_checkpoint(
        self, name: str, step: int, values: dict[str, float], uri: str, params: dict[str, str], time_ms: int
    ) -> None:
        from mlflow.entities import LoggedModelOutput
        from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL

        model = self._checkpoint(name, step)
        if model is None:
            tags = {MLFLOW_MODEL_IS_EXTERNAL: "true", "thinkreward.step": str(step), "thinkreward.uri": uri}
            model = self._client.create_logged_model(
                self._tracker.experiment_id, name=name, source_run_id=self.run_id, tags=tags,
                params={**params, "step": str(step), "uri": uri}, model_type="checkpoint",
            )  # fmt: skip
        known = {metric.key for metric in model.metrics or () if metric.step == step}
        new = {key: value for key, value in values.items() if key not in known}
        self._do_metrics(new, step, time_ms, model_id=model.model_id)
        outputs = self._client.get_run(self.run_id).outputs
        if model.model_id not in {output.model_id for output in (outputs.model_outputs if outputs else ())}:
            self._client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step)])
        self._client.finalize_logged_model(model.model_id, "READY")

    def _checkpoint(self, name: str, step: int) -> "LoggedModel | None":
        """The logged model that this run already has for the step."""
        wanted = f"name = '{name}' AND source_run_id = '{self.run_id}' AND tags.`thinkreward.step` = '{step}'"
        found = self._client.search_logged_models([self._tracker.experiment_id], filter_string=wanted, max_results=1)
        return found[0] if found else None


def _taken(outbox: "Outbox", spool: Path | None) -> list[Record]:
    """What an earlier attempt left in the store; its files go beside the spool. None where the store fails."""
    try:
        return outbox.take(spool.with_name(spool.name + ".files")) if spool else []
    except (ThinkrewardError, OSError) as error:
        logger.warning("what MLflow misses cannot be read from %s: %s", outbox.uri, error)
        return []


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
    uri = normalised(uri)
    client = open_client(uri)

    def read() -> list[tuple[int, list[dict[str, Any]]]]:
        found = []
        for one in client.list_artifacts(run_id, "tables"):
            stem, _, step = Path(one.path).stem.rpartition("-")
            if stem == _clean(name) and step.isdigit():
                table = json.loads(Path(client.download_artifacts(run_id, one.path)).read_text())
                rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
                found.append((int(step), rows))
        return sorted(found, key=lambda one: one[0])

    return within(uri, read)


def load_client() -> None:
    """Import MLflow's client, which takes two seconds."""
    set_environment()
    from mlflow import MlflowClient  # noqa: F401


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
            f"the experiment {name!r} in {shown(uri)} is deleted: bring it back with `mlflow experiments restore "
            f"--experiment-id {number}`, or choose another with tracking.experiment"
        )
    return str(found.experiment_id)


def _is_refusal(error: Exception) -> bool:
    """Whether MLflow refuses the value itself, so that a later attempt cannot help."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code in REFUSALS


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def _now_ms() -> int:
    return int(time.time() * 1000)


def _clean(name: str) -> str:
    return re.sub(r"[^\w\-]", "_", name)


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    """Plain floats (also from numpy and torch scalars) under names that MLflow takes; no number is left out unsaid."""
    numbers = {}
    for name, value in metrics.items():
        try:
            numbers[re.sub(r"[^\w\-. /]", "_", name)] = float(value)
        except (TypeError, ValueError):
            logger.warning("The metric %s is left out: %r is no number", name, value)
    return numbers


def _strings(values: Mapping[str, object], longest: int) -> dict[str, str]:
    return {key: str(value)[:longest] for key, value in values.items()}
