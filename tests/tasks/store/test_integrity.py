"""Damage of what is stored: found, named and repaired."""

from pathlib import Path

import pytest

from models.errors import ArtifactCorrupt, ArtifactMissing
from tasks.store.artifacts import MANIFEST, ArtifactRef, Store
from tests.tasks.store.folders import flip_a_byte, stored


def test_a_corrupted_byte_is_found_by_fetch_and_by_a_deep_verify(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    store.fetch(ref)
    flip_a_byte(stored(store, ref, "files/weights.bin"))
    store.verify(ref)  # sizes are right
    with pytest.raises(ArtifactCorrupt, match=r"weights\.bin"):
        store.verify(ref, deep=True)
    with pytest.raises(ArtifactCorrupt, match=r"weights\.bin"):
        store.fetch(ref)


def test_publishing_over_a_damaged_artifact_repairs_it(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    flip_a_byte(stored(store, ref, "files/weights.bin"))
    stored(store, ref, "files/sub/config.json").unlink()
    assert store.publish("model", folder) == ref
    store.verify(ref, deep=True)
    stored(store, ref, MANIFEST).write_text("{")
    assert store.publish("model", folder) == ref
    store.verify(ref, deep=True)


def test_verify_names_a_file_that_is_gone_or_cut_short(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    path = stored(store, ref, "files/weights.bin")
    path.chmod(0o644)
    path.write_bytes(b"short")
    with pytest.raises(ArtifactCorrupt, match=r"weights\.bin .* has 5 bytes, its manifest has 10000"):
        store.verify(ref)
    path.unlink()
    with pytest.raises(ArtifactMissing, match=r"weights\.bin"):
        store.verify(ref)
    with pytest.raises(ArtifactMissing, match=r"weights\.bin"):
        store.fetch(ref)


def test_a_reference_whose_artifact_is_gone_says_so(store: Store) -> None:
    ref = ArtifactRef(kind="model", digest="0" * 64, size=1, n_files=1)
    for ask in (store.fetch, store.manifest, store.verify):
        with pytest.raises(ArtifactMissing, match="000000000000"):
            ask(ref)
