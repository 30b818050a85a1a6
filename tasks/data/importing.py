"""Published data sets in the store: each imported once, in shards, and again only when its files or our code change.

An imported set is an artifact of its own, keyed by (reader, files, what an import may leave out), so that `prepare`
and `thinkreward data` share it, and a further source costs nothing of the others. A killed import goes on with its
first missing shard, on any machine; of two imports of one set at a time, the second waits for the first.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.schema import Settings
from models.errors import DataChanged
from models.evaluation.benchmarks.registry import BENCHMARKS
from models.sources.imported import ImportedShard, read_invalid
from models.sources.importing import ImportJob, check_share
from models.sources.registry import READERS
from models.sources.rows import Read
from tasks.data.decoders import prepare_decoders
from tasks.pipeline.once import computed_once
from tasks.pipeline.plan import ROWS_TO_RETRY
from tasks.store.artifact_types import ArtifactRef, IndexEntry
from tasks.store.artifacts import Store
from tasks.store.locations import fingerprint_of, listed, local_folder
from tasks.store.work import Work

IMPORTING = "importing"
KIND = "pairs"
VERSION = "3"  # raise it when an import of the same files gives something else
Progress = Callable[[int], None]


def lenient(settings: Settings) -> Settings:
    """Settings under which no share of invalid rows stops an import: they are counted, or shown."""
    return settings.model_copy(update={"prepare": settings.prepare.model_copy(update={"max_bad_share": 1.0})})


@dataclass(frozen=True)
class Place:
    """A published set: `name` of its reader or benchmark, and where its files are."""

    name: str
    path: str

    @property
    def is_benchmark(self) -> bool:
        """Whether it is one to be judged by, so that its pairs stay in their published order."""
        return self.name in BENCHMARKS

    @property
    def read(self) -> Read:
        """The function that knows its layout."""
        return BENCHMARKS[self.name].read if self.is_benchmark else READERS[self.name]


def import_set(store: Store, settings: Settings, place: Place, on_progress: Progress = lambda _: None) -> ArtifactRef:
    """The imported set: from the store if it is there, else read now. `on_progress` receives the rows so far.

    Rows that are invalid for a transient cause, such as a timeout, are read again, with their shards. Raises
    `DataError` for files that are not there or not as published, and for too large a share of invalid rows, and
    `DataChanged` where rows are invalid and the files have changed meanwhile.
    """
    at_rest = listed(place.path)
    config = {
        "reader": place.name,
        "files": fingerprint_of(place.path),
        "max_media_mib": settings.prepare.max_media_mib,
        "decoding_timeout_s": settings.prepare.decoding_timeout_s,
        "decoding_memory_mib": settings.prepare.decoding_memory_mib,
    }
    key = hashlib.sha256(json.dumps([VERSION, config], sort_keys=True).encode()).hexdigest()

    def read() -> IndexEntry:
        earlier, work = store.lookup(IMPORTING, key), store.work(IMPORTING, key)
        kept = _Kept(work, store.fetch(earlier.outputs["pairs"]) if earlier else None)
        with _imported(kept, settings, place, on_progress) as (folder, rows, invalid):
            if invalid and (changed := _changed(at_rest, listed(place.path))):
                work.clear()
                raise DataChanged(f"{place.path} changed while it was read ({changed}): import it once it is at rest")
            passing = sum(one.passing for one in read_invalid(folder))
            ref = store.publish(KIND, folder, metadata={"stage": IMPORTING, "key": key})
        return IndexEntry(
            stage=IMPORTING,
            key=key,
            outputs={"pairs": ref},
            inputs={},
            config=config,
            code_version=VERSION,
            facts={"rows": rows, "unusable": invalid, ROWS_TO_RETRY: passing},
        )

    entry = computed_once(store, settings, IMPORTING, key, read)
    # An import that is there may have been made when more was allowed.
    check_share(entry.facts["rows"], entry.facts["unusable"], settings.prepare.max_bad_share, place.path)
    return entry.outputs["pairs"]


def _changed(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> str:
    """A file that is not what it was, or nothing."""
    return next((name for name, _ in sorted(before.items() ^ after.items())), "")


@dataclass(frozen=True)
class _Kept:
    """The shards of earlier attempts: in the work area of one that was interrupted, or of an import that is there."""

    work: Work
    earlier: Path | None

    def bring(self, shard: ImportedShard, finished: set[str]) -> bool:
        """Bring a shard's files to where it is wanted; whether there is one. `finished` is what the work area holds."""
        if all(file.name in finished for file in shard.files):
            for file in shard.files:
                self.work.get_file(file.name, file)
            return True
        if self.earlier is None or not all((self.earlier / file.name).is_file() for file in shard.files):
            return False
        for file in shard.files:
            shutil.copyfile(self.earlier / file.name, file)
        return True


@contextmanager
def _imported(known: _Kept, settings: Settings, place: Place, on_progress: Progress) -> Iterator[tuple[Path, int, int]]:
    """A folder with the whole set, which goes when the `with` ends; its rows, and those that cannot be used."""
    prepare = settings.prepare
    root = local_folder(place.path, Path(settings.storage.cache_dir))
    folder = Path(tempfile.mkdtemp(prefix="thinkreward-import-"))
    work, finished = known.work, set(known.work.names())

    def kept(number: int) -> bool:
        return known.bring(ImportedShard(folder, number), finished)

    def keep(number: int) -> None:
        for file in ImportedShard(folder, number).files:
            work.put_file(file.name, file)

    try:
        with prepare_decoders(settings) as decoders:
            rows, invalid = ImportJob(
                place.read,
                root,
                folder,
                source=place.name,
                decoders=decoders,
                max_bad_share=prepare.max_bad_share,
                max_media_bytes=int(prepare.max_media_mib * 2**20),
                as_published=place.is_benchmark,
                kept=kept,
                keep=keep,
                on_progress=on_progress,
            ).run()
        yield folder, rows, invalid
    finally:
        shutil.rmtree(folder, ignore_errors=True)
