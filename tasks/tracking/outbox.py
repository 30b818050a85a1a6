"""Tracking records that MLflow has not taken yet, in the store's work area: they outlive the process and its machine.

    <root>/work/tracking/<token>/blobs/about.json       whose they are: stage, key, experiment, run id if known
    <root>/work/tracking/<token>/blobs/records.jsonl    the records in order, of the form of tasks/tracking/sync.py
    <root>/work/tracking/<token>/blobs/files/<name>     the files that they deliver

A token stands for one MLflow run, over all attempts of its stage. No index entry has this work's address, so neither
the end of the stage nor garbage collection removes it; delivery does.
"""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path

from models.pairs.preference import Frozen
from tasks.store.artifacts import Store, Work
from tasks.tracking.sync import Record, parsed

AREA = "tracking"
ABOUT, RECORDS, FILES = "about.json", "records.jsonl", "files"


class About(Frozen):
    """Whose records these are. `run_id` is empty as long as MLflow could not create the run."""

    stage: str
    key: str
    experiment: str
    run_id: str = ""


class Outbox:
    """The undelivered records of one MLflow run. Every method raises `StoreError` when the storage fails."""

    def __init__(self, store: Store, token: str) -> None:
        self.token = token
        self._work: Work = store.work(AREA, token)
        self.uri = store.objects.uri(self._work.path)

    def put(self, about: About, records: Sequence[Record]) -> None:
        """Make these all that waits; their files are copied first, so that records never name what is not there."""
        for record in records:
            if record["do"] == "file" and "kept" not in record["with"] and Path(record["with"]["source"]).is_file():
                name = f"{FILES}/{uuid.uuid4().hex}"
                self._work.put_file(name, Path(record["with"]["source"]))
                record["with"]["kept"] = name  # in the caller's record: the next time it is there already
        self._work.put_json(ABOUT, about.model_dump())
        self._work.put_bytes(RECORDS, "".join(json.dumps(record) + "\n" for record in records).encode())

    def about(self) -> About | None:
        """Whose they are; None if nothing waits here."""
        payload = self._work.get_json(ABOUT)
        return About.model_validate(payload) if payload is not None else None

    def take(self, folder: Path) -> list[Record]:
        """The records that wait, oldest first, their files copied below the local `folder`."""
        records = parsed((self._work.get_bytes(RECORDS) or b"").decode(), self.uri)
        for record in records:
            if kept := record["with"].get("kept"):
                local = folder / self.token / str(kept)
                local.parent.mkdir(parents=True, exist_ok=True)
                self._work.get_file(str(kept), local)
                record["with"]["source"] = str(local)
        return records

    def clear(self) -> None:
        """Forget what has been delivered."""
        self._work.clear()


def waiting_tokens(store: Store) -> list[str]:
    """The tokens of the MLflow runs that miss records."""
    return store.objects.folders(f"work/{AREA}")
