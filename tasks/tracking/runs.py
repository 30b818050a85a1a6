"""MLflow tracking: refused before work starts if it cannot be reached, and never a reason to stop work after that.

tracker = Tracker.connect(uri, experiment)                 # TrackingError, with the cure
with tracker.run("grpo", params=…, run_id=earlier, spool=work / "tracking.jsonl") as run:
    run.log_metrics({"reward/accuracy": 0.7}, step=10)
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from models.errors import ThinkrewardError
from tasks.tracking.client import Experiment
from tasks.tracking.outbox import About, Outbox
from tasks.tracking.sync import Record, Spool
from tasks.tracking.tracked_run import RETRY_PAUSE_S, TrackedRun

logger = logging.getLogger(__name__)


class Tracker(Experiment):
    """An experiment that runs are tracked in."""

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
        outbox: tuple[Outbox, About] | None = None,
        attempted: bool = False,
        retry_pause_s: float = RETRY_PAUSE_S,
    ) -> Iterator[TrackedRun]:
        """A run, ended as FINISHED, FAILED (an error) or KILLED (Ctrl-C, cancellation) with the block.

        `run_id` resumes that run; if it is gone, a new one is made. `parent` nests it below another run's id.
        `spool` is the file for what cannot be delivered, `outbox` where it goes at the end; a resumed stage should give
        the same ones, and state with `attempted` that its run may be there although its id is not known. Never raises
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


def _taken(outbox: Outbox, spool: Path | None) -> list[Record]:
    """What an earlier attempt left in the store; its files go next to the spool. None where the store fails."""
    try:
        return outbox.take(spool.with_name(spool.name + ".files")) if spool else []
    except (ThinkrewardError, OSError) as error:
        logger.warning("what MLflow misses cannot be read from %s: %s", outbox.uri, error)
        return []
