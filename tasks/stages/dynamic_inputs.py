"""The inputs of `prepare` that no other stage makes: the submissions, and the ledger of splits of the version before.

The ledger is the newest one, unless this version was made before: then it is the one from which it was made, so that
its key is the same and its result is found again, also when a profile changes and changes back.
"""

import json

from configs.schema import Settings
from tasks.data.inbox import records
from tasks.pipeline.graph import PREVIOUS, STAGES
from tasks.store.artifacts import ArtifactRef, IndexEntry, Store

LEDGER = "splits"


def gather(store: Store, settings: Settings) -> dict[str, ArtifactRef]:
    """The inputs by name; a store without preferences has no ledger."""
    found = records.recorded(store)
    entries = store.entries("prepare")  # the newest first
    if not entries:
        return found
    stage = STAGES["prepare"]
    config = json.loads(json.dumps(stage.config(settings)))
    wanted = {name: ref.digest for name, ref in found.items()}
    for entry in entries:
        if entry.code_version == stage.version and entry.config == config and _without_ledger(entry) == wanted:
            before = entry.inputs.get(PREVIOUS)
            return found if before is None else {**found, PREVIOUS: before}
    newest = entries[0].outputs
    # Preferences of before there were ledgers tell their splits as well.
    return {**found, PREVIOUS: newest.get(LEDGER, newest["preferences"])}


def _without_ledger(entry: IndexEntry) -> dict[str, str]:
    return {name: ref.digest for name, ref in entry.inputs.items() if name != PREVIOUS}
