"""What a storage is asked before it is relied on: whether it can be written, create-only too, and what time it has."""

import time
import uuid

from models.errors import StoreError, StoreNotWritable, StoreUnreachable
from tasks.store.objects.base import TEMPORARY, Objects


def check_writable(objects: Objects) -> None:
    """Writes, reads and removes a small object, and tries whether create-only writes are honoured.

    Raises `StoreNotWritable` with the address and what to do, before any work starts; `StoreUnreachable` if
    there is no answer.
    """
    path = f"{TEMPORARY}/probe-{uuid.uuid4().hex}"
    where = objects.uri("")
    try:
        created = objects.create(path, b"first")
        again = objects.create(path, b"second")
        readable = objects.read(path) == b"first"
        objects.remove(path)
    except StoreUnreachable:
        raise
    except (StoreError, FileNotFoundError) as error:
        # An error of S3 says what to do itself.
        cure = ". Choose another root, or make this one writable" if objects.local_path("") else ""
        raise StoreNotWritable(f"the artifact store {where} cannot be written: {error}{cure}") from error
    if not created or again or not readable:
        raise StoreNotWritable(
            f"the artifact store {where} does not honour create-only writes (If-None-Match), so two runs could "
            "work on one key: use a server that does, or another root"
        )


def storage_time(objects: Objects) -> float:
    """The storage's idea of now, which its times of change are to be compared with (Unix seconds)."""
    path = f"{TEMPORARY}/clock-{uuid.uuid4().hex}"
    objects.write(path, b"now")
    found = [found.modified for found in objects.walk(TEMPORARY) if found.path == path]
    objects.remove(path)
    return found[0] if found else time.time()
