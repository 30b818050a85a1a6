"""What `thinkreward data` does: import a published set, count what it holds, and show some of it."""

import random
from pathlib import Path
from typing import Any

from configs.schema import Settings
from models.errors import ConfigError
from models.evaluation.benchmarks.registry import BENCHMARKS
from models.evaluation.report.contact_sheet import SheetPair, contact_sheet
from models.pairs.media_files import MediaFiles
from models.sources.imported import read_imported, read_invalid, statistics
from models.sources.registry import READERS
from tasks.data.importing import Place, Progress, import_set
from tasks.pipeline.run import open_store
from tasks.store.artifact_types import ArtifactRef


def place_of(name: str, path: str) -> Place:
    """The set that a reader or benchmark of this name finds at `path`. Raises `ConfigError` that names the nearest."""
    from difflib import get_close_matches

    known = [*READERS, *BENCHMARKS]
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"there is no reader {name!r}: {hint}")
    return Place(name, path)


def import_data(settings: Settings, place: Place, on_progress: Progress) -> tuple[ArtifactRef, Path, dict[str, Any]]:
    """Import a set; gives its artifact, a folder with it, and its statistics."""
    store = open_store(settings)
    ref = import_set(store, settings, place, on_progress)
    folder = store.fetch(ref)
    return ref, folder, statistics(folder)


def invalid_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of an imported set that gave no pair: where they are, their id, why, and the medium at fault."""
    return [vars(one) for one in read_invalid(folder)]


def preview(folder: Path, *, title: str, pairs: int, frames: int, seed: int) -> str:
    """A page with so many pairs of an imported set, drawn by the seed: prompts, candidates and labels; HTML."""
    everything = list(read_imported(folder))
    chosen = random.Random(seed).sample(everything, min(pairs, len(everything)))
    wanted = {medium.uri for one in chosen for medium in one.pair.media()}
    media = {uri: data for uri, data in MediaFiles(folder) if uri in wanted}
    return contact_sheet(title, [SheetPair(one.pair, one.where) for one in chosen], media, frames=frames)
