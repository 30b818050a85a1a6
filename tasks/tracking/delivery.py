"""Delivering to MLflow, later, what it missed while it was away: by the next run, or `thinkreward sync`.

Nothing is taken from a stage that is running, which delivers its own. What is interrupted in the middle is done again,
and adds nothing to what MLflow has: a run is found by its token, a metric by its step and value.
"""

import os
import socket
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from configs.schema import Settings
from models.errors import ThinkrewardError
from tasks.store.artifacts import Store
from tasks.store.leases import current_lease
from tasks.tracking.outbox import AREA, About, Outbox, waiting_tokens

if TYPE_CHECKING:
    from tasks.tracking.runs import Tracker

AGAIN_S = 300.0  # after MLflow could not be reached, a run that has other things to do tries no sooner
TTLS_OF_DOUBT = 3  # without a heartbeat, after which the holder of a lease counts as gone

_not_before: dict[str, float] = {}


class Delivered(BaseModel):
    """What became of the undelivered records: MLflow runs completed, records that still wait, records refused."""

    runs: int = 0
    waiting: int = 0
    refused: int = 0
    running: int = 0


def deliver(store: Store, settings: Settings, log: Callable[[str], None]) -> Delivered:
    """Deliver what waits in the store. Raises `TrackingError` if MLflow cannot be reached, and `StoreError`."""
    total = Delivered()
    tokens = waiting_tokens(store)
    if not tokens:
        return total
    from tasks.tracking.runs import Tracker  # seconds to import, and mostly nothing waits

    trackers: dict[str, Tracker] = {}
    owner = f"{socket.gethostname()}/{os.getpid()}"
    for token in tokens:
        outbox = Outbox(store, token)
        about = outbox.about()
        if about is None:
            continue
        if _is_running(store, about):
            total.running += 1
            continue
        if about.experiment not in trackers:
            trackers[about.experiment] = Tracker.connect(settings.tracking.uri, about.experiment)
        with store.lease(AREA, token, owner=owner, ttl_s=settings.storage.lease_ttl_s, on_wait=log):
            _one(outbox, trackers[about.experiment], total, log)
    return total


def _one(outbox: Outbox, tracker: "Tracker", total: Delivered, log: Callable[[str], None]) -> None:
    from tasks.tracking.sync import Spool
    from tasks.tracking.tracked_run import RETRY_PAUSE_S, TrackedRun

    with tempfile.TemporaryDirectory(prefix="thinkreward-sync-") as folder:
        about, records = outbox.about(), outbox.take(Path(folder))
        if about is None or not any(record["do"] == "begin" for record in records):
            return  # delivered by another process while this one waited
        run = TrackedRun(tracker, about.run_id or None, Spool(None), RETRY_PAUSE_S, (outbox, about), attempted=True)
        left = run.replay(records)
    total.waiting += left
    total.refused += run.lost - left
    total.runs += not left
    what = f"{about.stage} {about.key[:8]}"
    if left:
        log(f"MLflow run of {what}: {left} of {len(records)} records could not be delivered yet")
    else:
        log(f"MLflow run of {what}: {len(records)} records delivered, {run.lost} of them refused; run {run.run_id}")


def deliver_best_effort(store: Store, settings: Settings, log: Callable[[str], None]) -> None:
    """The same before other work, which goes on if it fails; seldom, while MLflow cannot be reached."""
    if time.monotonic() < _not_before.get(settings.tracking.uri, 0.0):
        return
    try:
        deliver(store, settings, log)
    except ThinkrewardError as error:
        _not_before[settings.tracking.uri] = time.monotonic() + AGAIN_S
        log(f"tracking records of earlier runs wait on: {error}")


def _is_running(store: Store, about: About) -> bool:
    """Whether the stage is being computed, so that its own process delivers."""
    lease = current_lease(store.objects, about.stage, about.key)
    if lease is None or lease.released or lease.process_is_gone():
        return False
    silent = datetime.now(UTC) - datetime.fromisoformat(lease.heartbeat_at)
    return silent.total_seconds() < TTLS_OF_DOUBT * lease.ttl_s
