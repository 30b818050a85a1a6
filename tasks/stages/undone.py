"""Whether what `promote` did outside the store still stands. Each plan asks: so nothing is loaded that computes."""

from pathlib import Path
from typing import Any

from configs.schema import Settings
from tasks.pipeline.pinning import MODEL_TAG
from tasks.pipeline.run import read_output
from tasks.store.artifacts import IndexEntry, Store
from tasks.tracking.address import without_credentials
from tasks.tracking.known_alias import known_alias
from tasks.tracking.registry import CHALLENGER, CHAMPION, REFERENCE


def is_stale(store: Store, settings: Settings, entry: IndexEntry) -> str:
    """Why a promotion has to be made again, or nothing.

    The registry was emptied, another model came after it, or what it could not be compared with is there by now.
    """
    content = read_output(store, entry.outputs, "registration")
    uri, name = settings.tracking.uri, content["name"]
    memory = Path(settings.storage.cache_dir)
    current = known_alias(uri, name, CHALLENGER, memory)
    if current is None:
        return f"the registry at {without_credentials(uri)} has no {CHALLENGER}"
    if current.version != content["version"] or current.tags.get(MODEL_TAG) != content["model"]:
        return f"the registry's {CHALLENGER} is another model, version {current.version}"
    for rival in content.get("not_comparable", ()):
        from tasks.stages.comparing import obtainable  # with all that compares

        if obtainable(store, rival):
            return f"{rival['name']} can be compared again"
        if any(_left(uri, name, alias, rival, memory) for alias in (CHAMPION, REFERENCE)):
            return f"{rival['name']} is so no longer"
    return ""


def _left(uri: str, name: str, alias: str, rival: dict[str, Any], memory: Path) -> bool:
    """Whether an alias that a rival had is another version's now."""
    if not rival[alias] or not rival["version"]:
        return False
    current = known_alias(uri, name, alias, memory)
    return current is None or current.version != rival["version"]
