"""The index: an entry is a miss only when it really is not there."""

import errno
from pathlib import Path

import pytest

from models.errors import StoreError
from tasks.store.artifacts import MANIFEST, IndexEntry, Store
from tests.tasks.store.folders import stored


def test_an_entry_is_found_by_its_stage_and_key_only(store: Store, folder: Path) -> None:
    ref = store.publish("model", folder)
    entry = IndexEntry(
        stage="cold-start",
        key="abc",
        outputs={"model": ref},
        inputs={"distilled": ref},
        config={"lr": 2.5e-6},
        code_version="1",
        run_ids={"mlflow": "m"},
        facts={"seconds": 1.5, "loss": float("nan")},
    )
    assert store.lookup("cold-start", "abc") is None
    store.record(entry)
    found = store.lookup("cold-start", "abc")
    assert found == entry.model_copy(update={"facts": {"seconds": 1.5, "loss": None}})
    assert store.lookup("cold-start", "abd") is None
    store.record(entry.model_copy(update={"code_version": "2"}))
    assert [e.code_version for e in store.entries("cold-start")] == ["2"]
    store.forget("cold-start", "abc")
    store.forget("cold-start", "abc")
    assert store.lookup("cold-start", "abc") is None


def test_entries_come_newest_first(store: Store) -> None:
    times = ["2026-01-01T00:00:00+00:00", "2026-01-03T00:00:00+00:00", "2026-01-02T23:00:00-05:00"]
    for i, time in enumerate(times):
        store.record(IndexEntry(stage=f"s{i % 2}", key=f"k{i}", outputs={}, created_at=time))
    assert [entry.key for entry in store.entries()] == ["k2", "k1", "k0"]
    assert [entry.key for entry in store.entries("s0")] == ["k2", "k0"]


def entry_path(store: Store) -> Path:
    path = store.objects.local_path("index/grpo/k.json")
    assert path is not None
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",  # cut short
        "[]",
        '"text"',
        '{"schema_version": 1}',
        '{"schema_version": 1, "stage": "grpo", "key": "k", "outputs": {"model": {"kind": "model"}}}',
        '{"schema_version": 1, "stage": "grpo", "key": "another", "outputs": {}}',
        '{"schema_version": 1, "stage": "grpo", "key": "k", "outputs": {}, "created_at": "yesterday"}',
    ],
)
def test_an_entry_that_does_not_parse_is_no_miss(store: Store, text: str) -> None:
    entry_path(store).write_text(text)
    with pytest.raises(StoreError, match="forget the entry"):
        store.lookup("grpo", "k")


def test_an_entry_that_cannot_be_read_is_no_miss(store: Store) -> None:
    entry_path(store).mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        store.lookup("grpo", "k")


def test_an_index_that_is_no_folder_is_no_miss(store: Store) -> None:
    folder = entry_path(store).parent
    folder.rmdir()
    folder.write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        store.lookup("grpo", "k")
    with pytest.raises(StoreError):
        store.entries("grpo")


def test_a_permission_error_is_no_miss(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry_path(store).write_text("{}")

    def denied(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)  # the tests may run as root, whom nothing is denied
    with pytest.raises(StoreError, match="Permission denied"):
        store.lookup("grpo", "k")


def test_what_a_newer_version_wrote_asks_for_an_upgrade(store: Store, folder: Path) -> None:
    entry_path(store).write_text('{"schema_version": 2, "whatever": true}')
    with pytest.raises(StoreError, match="upgrade"):
        store.lookup("grpo", "k")
    ref = store.publish("model", folder)
    stored(store, ref, MANIFEST).write_text('{"schema_version": 2}')
    with pytest.raises(StoreError, match="upgrade"):
        store.publish("model", folder)
