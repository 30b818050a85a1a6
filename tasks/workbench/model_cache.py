"""The models that the workbench can ask: the registry's and those of the stages, each loaded when it is first asked."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from configs.schema import Settings
from models.errors import ConfigError, ThinkrewardError
from models.generation.open import open_generator
from tasks.data.decoders import serving_decoders
from tasks.pipeline.graph import EVALUATED, find_base
from tasks.pipeline.pinning import registered_model
from tasks.serving.model_manager import LoadedModel
from tasks.stages.generators import local_options
from tasks.store.artifacts import Store
from tasks.store.locations import model_digest

ALIASES = ("champion", "challenger")
KEPT = 2  # models in memory, as far as they are idle: two to compare


@dataclass(frozen=True)
class Choice:
    """One model that can be asked: what it is called here, and its digest, which two names may share."""

    name: str
    digest: str

    @property
    def label(self) -> str:
        """For a list."""
        return f"{self.name} ({self.digest[:8]})"


class ModelCache:
    """Loads models by name and keeps the last few. For many threads; one model is loaded at a time."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self.decoders = serving_decoders(settings)  # of what people bring; they start with the first of it
        self._loading = threading.Lock()  # taken before the other one
        self._lock = threading.Lock()
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()

    def choices(self) -> list[Choice]:
        """What can be asked now: the aliases first, then the newest model of each stage.

        A registry that does not answer has no aliases; the stages' models are in the store.
        """
        found = []
        with suppress(ThinkrewardError):
            named = ((alias, registered_model(self._settings, alias)) for alias in ALIASES)
            found += [Choice(alias, digest) for alias, digest in named if digest]
        for stage in EVALUATED:
            entry = self._store.newest(stage)
            if entry is not None:
                found.append(Choice(stage, entry.outputs["model"].digest))
            elif stage == "base" and self._base is not None:
                found.append(Choice(stage, self._base))
        return found

    def choice(self, name: str) -> Choice:
        """The choice of this name. Raises `ConfigError` for another name."""
        choices = self.choices()
        found = next((one for one in choices if one.name == name), None)
        if found is None:
            raise ConfigError(f"there is no model {name!r} here: choose of {', '.join(one.name for one in choices)}")
        return found

    @contextmanager
    def acquire(self, choice: Choice) -> Iterator[LoadedModel]:
        """Its model, for as long as the block takes. Raises `StoreError` or `ModelError`."""
        with self._loading:
            loaded = self._use(choice.digest)
            if loaded is None:
                self._let_go(KEPT - 1)
                loaded = self._load(choice)
                with self._lock:
                    self._models[choice.digest] = loaded
                    loaded.users += 1
        try:
            yield loaded
        finally:
            with self._lock:
                loaded.users -= 1

    def close(self) -> None:
        """Let every model end what it has."""
        with self._lock:
            held = list(self._models.values())
            self._models.clear()
        for loaded in held:
            loaded.generator.close()
        self.decoders.close()

    def _use(self, digest: str) -> LoadedModel | None:
        with self._lock:
            loaded = self._models.get(digest)
            if loaded is not None:
                self._models.move_to_end(digest)
                loaded.users += 1
            return loaded

    def _let_go(self, keep: int) -> None:
        """End the models that were used longest ago and are idle, until so many idle ones are left."""
        with self._lock:
            idle = [digest for digest, one in self._models.items() if not one.users]
            ended = [self._models.pop(digest) for digest in idle[: max(0, len(idle) - keep)]]
        for loaded in ended:
            loaded.generator.close()

    def _load(self, choice: Choice) -> LoadedModel:
        folder = find_base(self._settings) if choice.digest == self._base else None
        if folder is None:
            folder = self._store.fetch(self._store.reference("model", choice.digest))
        hosted = open_generator(folder, local_options(self._settings, batch=self._settings.serve.batch))
        return LoadedModel(choice.digest, hosted, self._settings, self.decoders)

    @cached_property
    def _base(self) -> str | None:
        """The digest of the base's folder, which counts while no run has stored it; None for a hub's."""
        folder = find_base(self._settings)
        return None if folder is None else model_digest(folder, Path(self._settings.storage.cache_dir))
