"""Pairs of all three splits out of published sets: imported, cleaned, chosen by weight, and split.

The result does not depend on the order of the sources, of their files or of their rows.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from configs.schema import PublishedSource
from models.hygiene.cleaning import clean_sources
from models.hygiene.stratified import stratified
from models.pairs.blob_file import BlobFile
from models.pairs.dataset import InvalidPair
from models.pairs.media_files import MediaFiles
from models.pairs.preference import PreferencePair, Split
from models.sources.imported import dedup_record, read_imported, read_invalid
from models.splits.assign import Shares, assign
from models.splits.ledger import Ledger
from tasks.data.importing import Place, import_set
from tasks.stages.context import Context


@dataclass(frozen=True)
class Mixed:
    """The splits, their media with perceptual hashes, what is invalid and why, reasoning by pair id, and counts."""

    splits: dict[Split, list[PreferencePair]]
    blobs: Mapping[str, bytes]
    invalid: list[InvalidPair]
    reasoning: dict[str, str]
    hygiene: dict[str, Any]
    hashes: dict[str, tuple[int, ...]]


def mix(context: Context, ledger: Ledger) -> Mixed:
    """The published sets of the profile as one; what earlier versions held stays where it was.

    Raises `DataError` as an import does.
    """
    prepare = context.settings.prepare
    folders = {
        name_of(one, prepare.sources): _imported(context, Place(one.reader, one.path)) for one in prepare.sources
    }
    benchmarks = {one.name: _imported(context, Place(one.name, one.path)) for one in prepare.decontaminate}
    rows = {(name, one.pair.id): one for name, folder in folders.items() for one in read_imported(folder)}
    cleaned = clean_sources(
        [dedup_record(one, name) for (name, _), one in rows.items()],
        {name: [dedup_record(one, name) for one in read_imported(folder)] for name, folder in benchmarks.items()},
        near_bits=prepare.near_duplicate_bits,
        conflicts=prepare.conflicts,
    )
    weights = {name_of(one, prepare.sources): one.weight for one in prepare.sources}
    chosen = stratified(cleaned.kept, weights, per_task=prepare.pairs_per_task, seed=context.settings.seed)
    pairs = [_named(rows[one.source, one.id].pair, one.source) for one in chosen]
    reasoning = {pair.id: rows[one.source, one.id].reasoning for pair, one in zip(pairs, chosen, strict=True)}
    invalid = [
        InvalidPair(f"{name}/{one.where}", one.reason, one.uri, one.passing)
        for name, folder in sorted(folders.items())
        for one in read_invalid(folder)
    ]
    hashes = {
        medium.sha256: own
        for one in chosen
        for medium, own in zip(rows[one.source, one.id].pair.media(), rows[one.source, one.id].hashes, strict=True)
    }
    shares = Shares(prepare.held_out_share, prepare.validation_share)
    assigned = assign(pairs, hashes, ledger, shares, near_bits=prepare.near_duplicate_bits)
    hygiene = {
        **cleaned.summary(),
        "chosen": dict(sorted(Counter(f"{one.source}/{one.task}" for one in chosen).items())),
    }
    return Mixed(
        assigned.splits,
        _media(
            folders.values(),
            [pair for found in assigned.splits.values() for pair in found],
            context.new_folder("media"),
        ),
        invalid + assigned.invalid,
        {name: text for name, text in reasoning.items() if text},
        hygiene,
        hashes,
    )


def name_of(source: PublishedSource, all_sources: Sequence[PublishedSource]) -> str:
    """What a source's pairs are called: by its reader, and where several share one, by its folder too."""
    if sum(one.reader == source.reader for one in all_sources) == 1:
        return source.reader
    return f"{source.reader}-{PurePosixPath(source.path.rstrip('/')).name}"


def _imported(context: Context, place: Place) -> Path:
    def on_progress(rows: int) -> None:
        context.child.progress(rows, 0, f"rows of {place.name}")

    return context.store.fetch(import_set(context.store, context.settings, place, on_progress))


def _named(pair: PreferencePair, source: str) -> PreferencePair:
    return pair.model_copy(update={"id": f"{source}/{pair.id}", "source": source})


def _media(folders: Iterable[Path], pairs: Sequence[PreferencePair], scratch: Path) -> BlobFile:
    """The media that the pairs show. A file, since they may be more than memory holds; it goes with its folder."""
    wanted = {medium.uri for pair in pairs for medium in pair.media()}
    blobs = BlobFile(scratch / "blobs")
    for folder in folders:
        for uri, data in MediaFiles(folder):
            if uri in wanted:
                blobs.add(uri, data)
    return blobs
