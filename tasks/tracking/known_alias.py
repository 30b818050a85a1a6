"""What an alias of the registry points at, without asking MLflow again while its sqlite database is the file it was.

Loading MLflow and opening its database takes three seconds, and a run that finds everything unchanged asks for no more
than one alias. Whatever changes the registry changes the file; of a server nothing is remembered.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.store.remembering import remembered
from tasks.tracking.address import absolute_uri, settled_database
from tasks.tracking.registry import RegisteredVersion, get_alias


def known_alias(uri: str, name: str, alias: str, cache_dir: Path) -> RegisteredVersion | None:
    """`get_alias`, remembered below `cache_dir`. Raises `TrackingError`."""
    database = settled_database(absolute_uri(uri))
    if database is None:
        return get_alias(uri, name, alias)

    def ask() -> dict[str, Any] | None:
        found = get_alias(uri, name, alias)
        return None if found is None else asdict(found)

    address = hashlib.sha256(f"{database.resolve()}\n{name}\n{alias}".encode()).hexdigest()[:32]
    fields = remembered((database,), cache_dir / "registry" / f"{address}.json", ask)
    return None if fields is None else RegisteredVersion(**{**fields, "aliases": tuple(fields["aliases"])})
