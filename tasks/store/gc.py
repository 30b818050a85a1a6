"""Garbage collection of a store. Not `gc.py`: that name would shadow the standard library's."""

import logging
import math
import re
import time
from collections.abc import Iterator, Set
from datetime import datetime
from typing import Literal, NamedTuple

from models.errors import ArtifactCorrupt, StoreError, StoreUnreachable
from models.pairs.preference import Frozen
from tasks.store.artifacts import MANIFEST, Store
from tasks.store.leases import LeaseState, current_lease, lease_folder
from tasks.store.lending import LENT
from tasks.store.objects.base import TEMPORARY, Found, Unfinished

logger = logging.getLogger(__name__)

# A silent lease is only believed dead after this many times its ttl: gc sees it once and cannot watch it.
_TTLS_OF_DOUBT = 3


class RemovedObject(Frozen):
    """One thing that gc removed (or would): its path below the root, what it was, its bytes (0 where S3 hides them)."""

    path: str
    what: Literal["artifact", "incomplete artifact", "work", "leftover", "lease", "unfinished upload"]
    size: int


def gc(store: Store, *, grace_s: float, dry_run: bool, pinned: Set[str] = frozenset()) -> list[RemovedObject]:
    """Removes what nothing refers to and nothing has changed for `grace_s` seconds.

    Kept: artifacts that an index entry names (as output or input), `pinned` digests (registry aliases), what a
    live lease refers to or was stored while it was held; the work of keys that have no entry yet, or a live lease.
    Removed besides artifacts: leftovers of killed uploads, also the parts that S3 keeps of large ones; work of
    finished keys, leases long over. `dry_run` only reports. Raises `StoreError`, having removed nothing, if the index
    or a lease cannot be read.
    """
    for digest in pinned:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise StoreError(f"pinned digest {digest!r} is not 64 hex digits: a misspelt pin would protect nothing")
    # Artifacts before entries: whatever is recorded in between is then seen as referred to.
    addresses = store.addresses()
    clock = _Clock(time.time() if dry_run else store.now(), grace_s)
    leases = _leases(store)
    live = [lease for lease in leases if _is_live(*lease, clock)]
    entries = store.entries()
    kept = set(pinned) | {ref.digest for e in entries for ref in (*e.outputs.values(), *e.inputs.values())}
    kept |= {digest for state, _ in live for digest in state.refs}
    held_since = min((_held_since(*lease) for lease in live), default=math.inf)
    busy = {(state.stage, state.key) for state, _ in live}

    doomed: list[RemovedObject] = []
    for kind, digest in addresses:
        if digest not in kept:
            doomed += _artifact(store, kind, digest, clock, held_since)
    doomed += _work(store, {(entry.stage, entry.key) for entry in entries}, busy, clock)
    doomed += _leftovers(store, clock)
    doomed += [_lease(state, found) for state, found in leases if _is_long_over(state, found, clock)]
    uploads = [one for one in _unfinished(store) if clock.is_old(one.modified) and one.modified < held_since]
    dropped = [RemovedObject(path=upload.path, what="unfinished upload", size=0) for upload in uploads]
    if dry_run:
        return doomed + dropped
    for upload in uploads:
        store.objects.give_up(upload)
    return [removal for removal in doomed if _remove(store, removal, clock)] + dropped


class _Clock(NamedTuple):
    """The storage's own time, in Unix seconds, and what counts as old on it."""

    now: float
    grace_s: float

    def is_old(self, modified: float) -> bool:
        return self.now - modified >= self.grace_s


def _unfinished(store: Store) -> list[Unfinished]:
    try:
        return store.objects.unfinished()
    except StoreUnreachable:
        raise
    except StoreError as error:  # it needs s3:ListBucketMultipartUploads, and some servers do not have it
        logger.warning("Parts of unfinished uploads stay; a rule of the bucket can remove them: %s", error)
        return []


def _leases(store: Store) -> list[tuple[LeaseState, Found]]:
    files = {found.path: found for found in store.objects.walk("leases")}
    leases = []
    for stage, key in sorted({(path.split("/")[1], path.split("/")[2]) for path in files}):
        state = current_lease(store.objects, stage, key)
        if state is not None:
            made_just_now = Found(state.path, 0, math.inf)
            leases.append((state, files.get(state.path, made_just_now)))
    return leases


def _is_live(state: LeaseState, found: Found, clock: _Clock) -> bool:
    if state.released or state.process_is_gone():
        return False
    return clock.now - found.modified < max(clock.grace_s, _TTLS_OF_DOUBT * state.ttl_s)


def _is_long_over(state: LeaseState, found: Found, clock: _Clock) -> bool:
    # Even a released lease stays a while: a run that saw it may be about to take the epoch after it.
    age = clock.now - found.modified
    return not _is_live(state, found, clock) and age >= max(clock.grace_s, _TTLS_OF_DOUBT * state.ttl_s)


def _lease(state: LeaseState, found: Found) -> RemovedObject:
    return RemovedObject(path=lease_folder(state.stage, state.key), what="lease", size=found.size)


def _held_since(state: LeaseState, found: Found) -> float:
    """When the lease was taken, on the storage's clock: its last heartbeat there, less what the holder measured."""
    held = datetime.fromisoformat(state.heartbeat_at) - datetime.fromisoformat(state.acquired_at)
    return found.modified - held.total_seconds() - 1.0


def _artifact(store: Store, kind: str, digest: str, clock: _Clock, held_since: float) -> list[RemovedObject]:
    path = f"artifacts/{kind}/{digest[:2]}/{digest}"
    found = store.objects.walk(path)
    if not found:
        return []  # removed a moment ago: some servers go on listing its folder
    newest = max(item.modified for item in found)
    if not clock.is_old(newest) or newest >= held_since:
        return []
    complete = any(item.path == f"{path}/{MANIFEST}" for item in found)
    size = sum(item.size for item in found if not item.path.startswith(f"{path}/{LENT}/"))  # links, mostly
    return [RemovedObject(path=path, what="artifact" if complete else "incomplete artifact", size=size)]


def _work(
    store: Store, finished: Set[tuple[str, str]], busy: Set[tuple[str, str]], clock: _Clock
) -> Iterator[RemovedObject]:
    """Work of finished keys as a whole; of unfinished ones only trees that were never completed or are replaced."""
    by_key: dict[tuple[str, str], list[Found]] = {}
    for found in store.objects.walk("work"):
        stage, key = found.path.split("/")[1:3]
        by_key.setdefault((stage, key), []).append(found)
    for (stage, key), files in by_key.items():
        if (stage, key) in busy:
            continue
        if (stage, key) in finished:
            yield from _if_old(f"work/{stage}/{key}", "work", files, clock)
            continue
        try:
            current = store.work(stage, key).live_generations()
        except ArtifactCorrupt as error:
            logger.warning("Kept, since it is unknown what of it counts: %s", error)
            continue
        generations: dict[str, list[Found]] = {}
        for found in files:
            parts = found.path.split("/")
            if parts[3] == "trees" and len(parts) > 6:
                generations.setdefault("/".join(parts[:6]), []).append(found)
        for path in generations.keys() - current:
            yield from _if_old(path, "leftover", generations[path], clock)


def _leftovers(store: Store, clock: _Clock) -> Iterator[RemovedObject]:
    """What killed writers left in tmp/, one upload at a time."""
    uploads: dict[str, list[Found]] = {}
    for found in store.objects.walk(TEMPORARY):
        uploads.setdefault("/".join(found.path.split("/")[:2]), []).append(found)
    for path, files in uploads.items():
        yield from _if_old(path, "leftover", files, clock)


def _if_old(path: str, what: Literal["work", "leftover"], files: list[Found], clock: _Clock) -> Iterator[RemovedObject]:
    if clock.is_old(max(found.modified for found in files)):
        yield RemovedObject(path=path, what=what, size=sum(found.size for found in files))


def _remove(store: Store, removal: RemovedObject, clock: _Clock) -> bool:
    """Removes it unless it has become young since it was judged (published again, or resumed)."""
    if store.objects.exists(removal.path):
        store.objects.remove(removal.path)  # one object in tmp/, whose name nobody uses twice
    else:
        newest = max((found.modified for found in store.objects.walk(removal.path)), default=0.0)
        if not clock.is_old(newest):
            return False
        if removal.what == "artifact":
            # What is half removed must not look complete.
            store.objects.remove(f"{removal.path}/{MANIFEST}")
        store.objects.remove_tree(removal.path)
    logger.info("Removed %s %s (%d bytes)", removal.what, removal.path, removal.size)
    return True
