"""What tracking could not deliver yet: a JSONL file next to the work in progress, in the order it was made.

A record is `{"do": operation, "with": arguments}`. The file outlives the process, so a stage that is killed
while the tracking server is away delivers the records when it is resumed with the same file. What still waits when a
stage ends goes to the store (tasks/tracking/outbox.py), and so does, now and then, what waits meanwhile.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Record = dict[str, Any]


def parsed(text: str, where: str) -> list[Record]:
    """The records in a JSONL text; half a line, as a process leaves that is killed while it appends, is skipped."""
    records: list[Record] = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
            records.append({"do": str(record["do"]), "with": dict(record["with"])})
        except (ValueError, KeyError, TypeError):
            logger.warning("%s: skipped an unreadable record of %d characters", where, len(line))
    return records


class Spool:
    """Records that wait, in memory and in `path` (None: in memory only). Never raises: tracking must not stop work."""

    def __init__(self, path: Path | None, waiting: Sequence[Record] = ()) -> None:
        self.path = path
        self._complained = False
        self._waiting: list[Record] = self._read()
        if waiting and not self._waiting:
            self.replace(list(waiting))

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> list[Record]:
        """The records, oldest first."""
        return list(self._waiting)

    def add(self, record: Record) -> None:
        """Puts a record at the end, durably if there is a file."""
        self._waiting.append(record)
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            self._complain(error)

    def keep_file(self, source: Path) -> Path:
        """A copy of a file that is to be delivered, since the original may be gone by then.

        The original's own path when there is nowhere to copy it.
        """
        if self.path is None:
            return source
        try:
            folder = self.path.with_name(self.path.name + ".files")
            folder.mkdir(parents=True, exist_ok=True)
            kept = folder / f"{len(list(folder.iterdir())):04d}-{source.name}"
            shutil.copyfile(source, kept)
        except OSError as error:
            self._complain(error)
            return source
        return kept

    def replace(self, waiting: list[Record]) -> None:
        """Makes `waiting` all that waits; the file goes when nothing does."""
        self._waiting = list(waiting)
        if self.path is None:
            return
        try:
            if not waiting:
                self.path.unlink(missing_ok=True)
                shutil.rmtree(self.path.with_name(self.path.name + ".files"), ignore_errors=True)
                return
        except OSError as error:
            self._complain(error)
        else:
            self._write(waiting)

    def _write(self, records: list[Record]) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            aside = self.path.with_name(self.path.name + ".new")
            aside.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
            aside.replace(self.path)
        except OSError as error:
            self._complain(error)

    def _read(self) -> list[Record]:
        if self.path is None or not self.path.is_file():
            return []
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            self._complain(error)
            return []
        records = parsed(text, str(self.path))
        if text and not text.endswith("\n"):
            self._write(records)  # else the next record would be appended to that half line
        return records

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            logger.warning("%s cannot be used (%s): undelivered tracking is kept in memory only", self.path, error)
            self._complained = True
