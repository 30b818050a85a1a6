"""An alias is asked for once while the database stays as it is, and again after whatever may have moved it."""

import time
from pathlib import Path

import pytest

from tasks.store import remembering
from tasks.tracking import known_alias as known
from tasks.tracking.known_alias import known_alias
from tasks.tracking.registry import CHALLENGER, DIGEST_TAG, get_alias, register, set_alias

NAME = "judge"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The aliases that MLflow was asked for; what changed a moment ago has settled."""
    aliases: list[str] = []

    def ask(uri: str, name: str, alias: str) -> object:
        aliases.append(alias)
        return get_alias(uri, name, alias)

    monkeypatch.setattr(known, "get_alias", ask)
    monkeypatch.setattr(remembering, "UNCHANGED_S", 0.02)
    return aliases


def registered(uri: str, model: str) -> str:
    version = register(uri, NAME, source_uri=f"file:///{model}", run_id="", tags={DIGEST_TAG: model}).version
    set_alias(uri, NAME, CHALLENGER, version)
    time.sleep(0.05)
    return version


def test_an_alias_is_asked_for_again_only_when_the_database_changed(uri: str, tmp_path: Path, asked: list[str]) -> None:
    registered(uri, "one")
    first = known_alias(uri, NAME, CHALLENGER, tmp_path / "cache")
    assert first == get_alias(uri, NAME, CHALLENGER) == known_alias(uri, NAME, CHALLENGER, tmp_path / "cache")
    assert asked == [CHALLENGER]
    version = registered(uri, "two")
    moved = known_alias(uri, NAME, CHALLENGER, tmp_path / "cache")
    assert moved is not None and (moved.version, moved.digest) == (version, "two")
    assert asked == [CHALLENGER] * 2


def test_that_there_is_no_such_alias_is_remembered_too(uri: str, tmp_path: Path, asked: list[str]) -> None:
    time.sleep(0.05)
    for _ in range(2):
        assert known_alias(uri, NAME, CHALLENGER, tmp_path / "cache") is None
    assert asked == [CHALLENGER]
    registered(uri, "one")
    assert known_alias(uri, NAME, CHALLENGER, tmp_path / "cache") is not None


@pytest.mark.parametrize("end", ["-wal", "-journal"])
def test_while_sqlite_keeps_changes_beside_its_database_mlflow_is_asked(
    end: str, uri: str, tmp_path: Path, asked: list[str]
) -> None:
    registered(uri, "one")
    (tmp_path / f"mlflow.db{end}").touch()
    for _ in range(2):
        known_alias(uri, NAME, CHALLENGER, tmp_path / "cache")
    assert asked == [CHALLENGER] * 2
    assert not (tmp_path / "cache").exists()


def test_an_emptied_registry_is_noticed(uri: str, tmp_path: Path, empty_database: Path, asked: list[str]) -> None:
    registered(uri, "one")
    assert known_alias(uri, NAME, CHALLENGER, tmp_path / "cache") is not None
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    assert known_alias(uri, NAME, CHALLENGER, tmp_path / "cache") is None
