"""What takes long to find out about a file, found out once for as long as the file stays as it is."""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

UNCHANGED_S = 5.0  # of a file that changed since, nothing is remembered


def remembered(files: Sequence[Path], kept: Path, find: Callable[[], Any]) -> Any:
    """What `find` says of files, as JSON; from `kept` if neither their bytes nor their names can have changed since.

    The kernel sets the time of the last status change (ctime) at each write, and nobody can set it back, so that with
    the inode it tells a changed file even where its size and time of change (mtime) are as they were. Of a file that
    changed within the last seconds nothing is remembered: it may change again within the clock's resolution. Of a
    folder this tells which files are in it, not what is in them. What `find` raises is not remembered.
    """

    def now() -> list[list[int]]:
        found = [file.stat() for file in files]
        return [[one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns] for one in found]

    before = now()
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(kept.read_text())
        if known["status"] == before:
            return known["found"]
    found = find()
    if now() == before and time.time() - max(one[-1] for one in before) / 1e9 > UNCHANGED_S:
        with suppress(OSError):  # a full disk, say: it is found again next time
            kept.parent.mkdir(parents=True, exist_ok=True)
            aside = kept.with_suffix(f".{os.getpid()}")
            aside.write_text(json.dumps({"status": before, "found": found}))
            aside.replace(kept)
    return found
