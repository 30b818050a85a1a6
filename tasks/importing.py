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
from models.benchmarks.registry import BENCHMARKS
from models.decoding import Decoders
from models.sources.imported import ImportedShard
from models.sources.importing import ImportJob, check_share
from models.sources.registry import READERS
from models.sources.rows import Read
from tasks.artifacts import ArtifactRef, IndexEntry, Store, Work
from tasks.data_files import fingerprint_of, local_folder
from tasks.once import computed_once

IMPORTING = "importing"
KIND = "pairs"
VERSION = "2"  # raise it when an import of the same files gives something else
Progress = Callable[[int], None]


def lenient(settings: Settings) -> Settings:
    """Settings under which no share of unusable rows stops an import: they are counted, or looked at."""
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
    """The imported set: from the store if it is there, else read now. `on_progress` is told the rows so far.

    Raises `DataError` for files that are not there or not as published, and for too large a share of unusable rows.
    """
    config = {
        "reader": place.name,
        "files": fingerprint_of(place.path),
        "max_media_mib": settings.prepare.max_media_mib,
        "decoding_timeout_s": settings.prepare.decoding_timeout_s,
    }
    key = hashlib.sha256(json.dumps([VERSION, config], sort_keys=True).encode()).hexdigest()

    def read() -> IndexEntry:
        with _imported(store.work(IMPORTING, key), settings, place, on_progress) as (folder, rows, unusable):
            ref = store.publish(KIND, folder, metadata={"stage": IMPORTING, "key": key})
        return IndexEntry(
            stage=IMPORTING,
            key=key,
            outputs={"pairs": ref},
            inputs={},
            config=config,
            code_version=VERSION,
            facts={"rows": rows, "unusable": unusable},
        )

    entry = computed_once(store, settings, IMPORTING, key, read)
    # An import that is there may have been made when more was allowed.
    check_share(entry.facts["rows"], entry.facts["unusable"], settings.prepare.max_bad_share, place.path)
    return entry.outputs["pairs"]


@contextmanager
def _imported(work: Work, settings: Settings, place: Place, on_progress: Progress) -> Iterator[tuple[Path, int, int]]:
    """A folder with the whole set, which goes when the `with` ends; its rows, and those that cannot be used."""
    prepare = settings.prepare
    root = local_folder(place.path, Path(settings.storage.cache_dir))
    folder = Path(tempfile.mkdtemp(prefix="thinkreward-import-"))
    finished = set(work.names())

    def kept(number: int) -> bool:
        files = ImportedShard(folder, number).files
        if any(file.name not in finished for file in files):
            return False
        for file in files:
            work.get_file(file.name, file)
        return True

    def keep(number: int) -> None:
        for file in ImportedShard(folder, number).files:
            work.put_file(file.name, file)

    try:
        with Decoders(prepare.decoding_processes, prepare.decoding_timeout_s) as decoders:
            rows, unusable = ImportJob(
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
        yield folder, rows, unusable
    finally:
        shutil.rmtree(folder, ignore_errors=True)
