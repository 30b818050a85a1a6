"""What is no stage but is kept like one: computed once for its key, and taken from the store from then on."""

import os
import socket
from collections.abc import Callable, Iterable

from configs.schema import Settings
from tasks.pipeline.plan import ROWS_TO_RETRY, verified_entry
from tasks.store.artifacts import ArtifactRef, IndexEntry, Store


def computed_once(
    store: Store,
    settings: Settings,
    stage: str,
    key: str,
    compute: Callable[[], IndexEntry],
    *,
    refs: Iterable[ArtifactRef] = (),
) -> IndexEntry:
    """The entry of a key: the one that is there, or what `compute` gives, recorded.

    Of two runs with one key one computes, under the lease that stages hold, and the other waits and takes its result.
    Its work in progress goes when the entry is recorded. `refs` are kept by gc meanwhile. An entry that lacks something
    for a transient cause (its fact `ROWS_TO_RETRY`) is computed again. Raises what `compute` does, and `LeaseLost`
    where another run has taken over from this one.
    """
    before = found = verified_entry(store, stage, key)
    if found is not None and not found.facts.get(ROWS_TO_RETRY):
        return found
    owner = f"{socket.gethostname()}/{os.getpid()}"
    with store.lease(stage, key, owner=owner, ttl_s=settings.storage.lease_ttl_s, refs=refs) as lease:
        found = verified_entry(store, stage, key)
        if found is not None and (found != before or not found.facts.get(ROWS_TO_RETRY)):
            return found  # another run computed it while this one waited
        made = compute()
        lease.check()
        store.record(made)
        store.work(stage, key).clear()
    return made
