"""What takes long to find out about a file, found out once for as long as the file stays as it is."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

UNCHANGED_S = 5.0  # of a file that changed since, nothing is remembered


def remembered(file: Path, kept: Path, find: Callable[[], Any]) -> Any:
    """What `find` says of a file, as JSON; from `kept` if neither the file's bytes nor its name can have changed since.

    The kernel sets the time of the last status change (ctime) at each write, and nobody can set it back, so that with
    the inode it tells a changed file even where its size and time of change (mtime) are as they were. Of a file that
    changed within the last seconds nothing is remembered: it may change again within the clock's resolution.
    """

    def now() -> list[int]:
        found = file.stat()
        return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]

    before = now()
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(kept.read_text())
        if known["status"] == before:
            return known["found"]
    found = find()
    if now() == before and time.time() - before[-1] / 1e9 > UNCHANGED_S:
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps({"status": before, "found": found}))
        aside.replace(kept)
    return found
