"""Folders that programs may write into, beside artifacts that they may not."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from models.errors import ArtifactMissing
from tasks.store.artifacts import ArtifactRef, Store
from tasks.store.gc import gc
from tasks.store.lending import lend, unnamed_files
from tasks.store.maintenance import verify_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "the store"))


@pytest.fixture
def ref(store: Store, tmp_path: Path) -> ArtifactRef:
    folder = tmp_path / "made"
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text("a model")
    (folder / "code" / "judge.py").write_text("ANSWER = 1\n")
    return store.publish("registry-model", folder)


def lent(store: Store, ref: ArtifactRef) -> Path:
    return Path(url2pathname(urlsplit(lend(store, ref)).path))


def test_what_is_written_beside_a_lent_model_is_not_in_the_artifact(store: Store, ref: ArtifactRef) -> None:
    folder = lent(store, ref)
    assert (folder / "code" / "judge.py").read_text() == "ANSWER = 1\n"
    (folder / "registered_model_meta").write_text("model_name: judge\n")
    (folder / "code" / "__pycache__").mkdir()
    (folder / "code" / "__pycache__" / "judge.pyc").write_bytes(b"compiled")
    assert verify_store(store).problems == ()
    assert unnamed_files(store, ref) == []


def test_a_lent_folder_takes_no_room_and_stays_what_it_is(store: Store, ref: ArtifactRef) -> None:
    folder = lent(store, ref)
    (folder / "registered_model_meta").write_text("model_name: judge\n")
    assert (folder / "MLmodel").samefile(store.fetch(ref) / "MLmodel")
    assert lent(store, ref) == folder
    assert (folder / "registered_model_meta").is_file()


@pytest.mark.parametrize("other", [None, "ANSWER = 2\n"], ids=["gone", "changed"])
def test_a_lent_folder_that_was_spoiled_is_made_again(
    other: str | None, store: Store, ref: ArtifactRef, tmp_path: Path
) -> None:
    file = lent(store, ref) / "code" / "judge.py"
    file.unlink()
    if other is not None:
        file.write_text(other)
    assert (lent(store, ref) / "code" / "judge.py").read_text() == "ANSWER = 1\n"
    assert not list((tmp_path / "the store" / "tmp").iterdir())


def test_copies_are_lent_where_there_are_no_hard_links(
    store: Store, ref: ArtifactRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("tasks.store.lending.os.link", refuse)
    file = lent(store, ref) / "MLmodel"
    assert file.read_text() == "a model"
    assert not file.samefile(store.fetch(ref) / "MLmodel")


def test_nothing_is_lent_of_an_artifact_that_is_gone(store: Store, ref: ArtifactRef) -> None:
    store.drop(ref.kind, ref.digest)
    with pytest.raises(ArtifactMissing, match="has to be made again"):
        lend(store, ref)


def test_a_lent_folder_goes_with_its_artifact_and_is_not_counted_twice(store: Store, ref: ArtifactRef) -> None:
    (alone,) = gc(store, grace_s=0, dry_run=True)
    folder = lent(store, ref)
    assert gc(store, grace_s=0, dry_run=False) == [alone]
    assert not folder.exists()


def test_files_that_no_manifest_names_are_named_and_dropped(store: Store, ref: ArtifactRef) -> None:
    written = store.fetch(ref) / "registered_model_meta"
    written.write_text("model_name: judge\n")
    (problem,) = verify_store(store).problems
    assert problem.where == f"registry-model {ref.digest}"
    assert "registered_model_meta is not in the manifest" in problem.fault
    assert written.exists()
    assert not verify_store(store, drop=True).ok
    assert not written.exists()
    assert verify_store(store).ok
    assert store.fetch(ref)
