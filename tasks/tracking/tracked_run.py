"""A run that is tracked: what MLflow does not take waits, and is delivered in order when it answers again.

What cannot be delivered waits in the spool (tasks/tracking/sync.py); what still waits at the end goes to the store
(tasks/tracking/outbox.py), from where a later run or `thinkreward sync` delivers it. Records carry the time they
were made, so what is delivered twice is one point in MLflow, and a resumed run that logs the same value for a step
again adds nothing.
"""

import json
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.errors import ThinkrewardError
from tasks.tracking.address import without_credentials
from tasks.tracking.client import Experiment
from tasks.tracking.operations import RemoteRun, Status
from tasks.tracking.outbox import About, Outbox
from tasks.tracking.sync import Record, Spool
from tasks.tracking.values import LONGEST_PARAM, LONGEST_TAG, as_numbers, as_strings, clean_name, first_line, now_ms

logger = logging.getLogger(__name__)

RETRY_PAUSE_S = 5.0  # after a failure nothing is tried for so long, then twice as long, up to the next line
LONGEST_PAUSE_S = 60.0
FAILURES_AT_THE_END = 3  # in a row, then the rest is left for later
KEEP_EVERY_S = 60.0  # while MLflow is away, what waits is copied to the store so often


class TrackedRun:
    """One MLflow run. Its methods are safe to call from several threads and never raise because of MLflow."""

    def __init__(
        self,
        experiment: Experiment,
        run_id: str | None,
        spool: Spool,
        retry_pause_s: float,
        outbox: tuple[Outbox, About] | None = None,
        attempted: bool = False,
    ) -> None:
        self._experiment = experiment
        self._remote = RemoteRun(
            experiment,
            run_id,
            token=outbox[0].token if outbox else "",
            attempted=attempted,
            resumed=attempted or len(spool) > 0,
        )
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

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; empty as long as it could not be created."""
        return self._remote.run_id or ""

    @property
    def url(self) -> str:
        """Where to look at it: a link, or for a database the command that shows it."""
        uri = without_credentials(self._experiment.uri)
        if uri.startswith(("http://", "https://")):
            try:
                return f"{uri.rstrip('/')}/#/experiments/{self._experiment.experiment_id}/runs/{self.run_id}"
            except Exception as error:  # noqa: BLE001  (a resumed run of a server that is away: requests, MLflow, …)
                logger.debug("no link to run %s: %s", self.run_id, error)
                return uri
        return f"mlflow ui --backend-store-uri '{uri}'  # run {self.run_id}"

    @property
    def lost(self) -> int:
        """Records that have not reached MLflow: still waiting, or refused by it."""
        return self._remote.refused + len(self._spool) + self._kept

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Adds one value a metric at `step`. Names are cleaned of characters that MLflow refuses."""
        self._log("metrics", values=as_numbers(metrics), step=int(step), time_ms=now_ms())

    def log_table(self, name: str, columns: Mapping[str, Sequence[object]], step: int) -> None:
        """Stores a table, column by column, as `tables/<name>-<step>.json` in the form that MLflow's page shows."""
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        text = json.dumps({"columns": list(columns), "data": rows}, default=str, ensure_ascii=False)
        self._log("table", path=f"tables/{clean_name(name)}-{step:06d}.json", text=text)

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
            name=clean_name(name), step=int(step), values=as_numbers(metrics), uri=uri,
            params=as_strings(params or {}, LONGEST_PARAM), time_ms=now_ms(),
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
                "tags": as_strings(tags, LONGEST_TAG),
                "params": as_strings(params, LONGEST_PARAM),
                "time_ms": min([*began, now_ms()]),
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
            self._end = {"do": "finish", "with": {"status": status, "time_ms": now_ms()}}
            self._log("finish", **self._end["with"])
            if len(self._spool):
                self._not_before = 0.0
                self._catch_up(final=True)
            if self.lost:
                where = without_credentials(self._experiment.uri)
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
            logger.info(
                "MLflow at %s has caught up: %d records delivered",
                without_credentials(self._experiment.uri),
                len(waiting),
            )

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
            self._remote.apply(record)
        # Tracking must not stop work, whatever goes wrong in it.
        except Exception as error:  # noqa: BLE001
            self._failed(error)
            return False
        self._out = False
        self._pause = self._first_pause
        return True

    def _failed(self, error: Exception) -> None:
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
        if not self._out:
            where = self._spool.path or "memory"
            logger.warning(
                "MLflow at %s failed: %s. Work goes on; what is tracked waits in %s until it answers again",
                without_credentials(self._experiment.uri), first_line(error), where,
            )  # fmt: skip
        self._out = True
