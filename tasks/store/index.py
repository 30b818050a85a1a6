"""The index: what each stage made for which key, and from what; one record a stage and key."""

from models.errors import StoreError
from tasks.store.artifact_types import IndexEntry, from_json, to_json
from tasks.store.objects.base import Objects, in_parallel, segment

_RECOMPUTE = "; forget the entry to have the stage computed again"


class Index:
    """The records below `index/` of one storage."""

    objects: Objects

    def lookup(self, stage: str, key: str) -> IndexEntry | None:
        """What the stage made for this key; None only when there really is no entry.

        Raises `StoreError` when the storage fails, the entry does not parse, or a newer version wrote it.
        """
        path = _path(stage, key)
        try:
            data = self.objects.read(path)
        except FileNotFoundError:
            return None
        entry = from_json(IndexEntry, data, self.objects.uri(path), corrupt=StoreError, fix=_RECOMPUTE)
        if (entry.stage, entry.key) != (stage, key):
            raise StoreError(f"{self.objects.uri(path)} is the entry of {entry.stage} {entry.key}{_RECOMPUTE}")
        return entry

    def record(self, entry: IndexEntry) -> None:
        """Writes the entry of its stage and key, in place of one that is there."""
        self.objects.write(_path(entry.stage, entry.key), to_json(entry))

    def forget(self, stage: str, key: str) -> None:
        """Removes an entry, so that the stage is computed again; its artifacts stay until gc."""
        self.objects.remove(_path(stage, key))

    def entries(self, stage: str | None = None) -> list[IndexEntry]:
        """Every entry (of one stage), newest first. Raises `StoreError` as `lookup` does."""
        folder = "index" if stage is None else f"index/{segment(stage, 'stage')}"
        addresses = [found.path.removesuffix(".json").split("/")[1:] for found in self.objects.walk(folder)]
        found = in_parallel(lambda address: self.lookup(address[0], address[-1]), addresses)
        return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.created, reverse=True)

    def newest(self, stage: str) -> IndexEntry | None:
        """The newest record of a stage; None if there is none. Raises as `entries` does."""
        return next(iter(self.entries(stage)), None)


def _path(stage: str, key: str) -> str:
    return f"index/{segment(stage, 'stage')}/{segment(key, 'key')}.json"
