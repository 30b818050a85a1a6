"""The models that the workbench can ask: the registry's and those of the stages, each loaded when it is first asked."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from configs.schema import Settings
from models.errors import ConfigError, ThinkrewardError
from tasks.artifacts import ArtifactRef
from tasks.data_files import fingerprint
from tasks.graph import EVALUATED, find_base
from tasks.judges import local_generator
from tasks.pinning import find_artifact, registered_model
from tasks.serving.holder import Served
from tasks.stages import open_store

ALIASES = ("champion", "challenger")
KEPT = 2  # models in memory besides those at work: two to compare


@dataclass(frozen=True)
class Choice:
    """One model that can be asked: what it is called here, and its digest, which two names may share."""

    name: str
    digest: str

    @property
    def label(self) -> str:
        """For a list."""
        return f"{self.name} ({self.digest[:8]})"


class Shelf:
    """Loads models by name and keeps the last few. For many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._served: OrderedDict[str, Served] = OrderedDict()

    def choices(self) -> list[Choice]:
        """What can be asked now: the aliases first, then the newest model of each stage.

        A registry that does not answer has no aliases; the stages' models are in the store.
        """
        found = []
        for alias in ALIASES:
            with suppress(ThinkrewardError):
                if digest := registered_model(self._settings, alias):
                    found.append(Choice(alias, digest))
        store = open_store(self._settings)
        for stage in EVALUATED:
            entry = next(iter(store.entries(stage)), None)
            if entry is not None:
                found.append(Choice(stage, entry.outputs["model"].digest))
            elif stage == "base" and (folder := find_base(self._settings)):
                found.append(Choice(stage, fingerprint(folder)))
        return found

    @contextmanager
    def taken(self, name: str) -> Iterator[Served]:
        """The model of a choice's name, for as long as the block takes. Raises `ConfigError` for another name."""
        choice = next((one for one in self.choices() if one.name == name), None)
        if choice is None:
            raise ConfigError(f"there is no model {name!r} here: choose of {', '.join(c.name for c in self.choices())}")
        with self._lock:
            served = self._served.get(choice.digest) or self._load(choice)
            self._served[choice.digest] = served
            self._served.move_to_end(choice.digest)
            served.users += 1
        try:
            yield served
        finally:
            with self._lock:
                served.users -= 1
                idle = [digest for digest, one in self._served.items() if not one.users]
                for digest in idle[: max(0, len(idle) - KEPT)]:
                    self._served.pop(digest).generator.close()

    def close(self) -> None:
        """Let every model end what it has."""
        with self._lock:
            for served in self._served.values():
                served.generator.close()
            self._served.clear()

    def _load(self, choice: Choice) -> Served:
        store = open_store(self._settings)
        folder = find_base(self._settings) if choice.name == "base" and not store.entries("base") else None
        if folder is None:
            ref: ArtifactRef = find_artifact(store, self._settings, f"model/{choice.digest}")
            folder = store.fetch(ref)
        local = local_generator(folder, self._settings, batch=self._settings.serve.batch)
        return Served(choice.digest, local, self._settings)
