"""When a recorded promotion still stands, against a real sqlite MLflow."""

import json
from pathlib import Path

import pytest

from configs.load import load_settings
from configs.schema import Settings
from tasks.artifacts import IndexEntry
from tasks.promoting import CHALLENGER, MODEL_TAG, lapsed
from tasks.registry import DIGEST_TAG, register, set_alias
from tasks.stages import open_store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = (
        f"storage.root={tmp_path / 'store'}",
        f"storage.cache_dir={tmp_path / 'cache'}",
        f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}",
    )
    return load_settings("shapes", places)


def promoted(settings: Settings, model: str) -> str:
    """Register a model as the challenger; gives its version."""
    uri, name = settings.tracking.uri, settings.tracking.registered_model
    tags = {DIGEST_TAG: f"packaged {model}", MODEL_TAG: model}
    version = register(uri, name, source_uri=f"file:///store/{model}", run_id="", tags=tags).version
    set_alias(uri, name, CHALLENGER, version)
    return version


def recorded(settings: Settings, folder: Path, model: str, version: str) -> IndexEntry:
    folder.mkdir()
    said = {"name": settings.tracking.registered_model, "model": model, "version": version}
    (folder / "registration.json").write_text(json.dumps(said))
    outputs = {"registration": open_store(settings).publish("registration", folder)}
    return IndexEntry(stage="promote", key="0" * 64, outputs=outputs, inputs={}, config={}, code_version="1")


def test_a_promotion_stands_until_another_model_is_the_challenger(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    entry = recorded(settings, tmp_path / "first", "one", promoted(settings, "one"))
    assert lapsed(store, settings, entry) == ""
    promoted(settings, "two")
    assert lapsed(store, settings, entry) == "the registry's challenger is another model, version 2"
    promoted(settings, "one")
    assert lapsed(store, settings, entry) == ""


def test_an_emptied_registry_undoes_a_promotion(settings: Settings, tmp_path: Path) -> None:
    entry = recorded(settings, tmp_path / "first", "one", "1")
    assert lapsed(open_store(settings), settings, entry).endswith("has no challenger")
    # A registry that was emptied counts its versions from 1 again.
    promoted(settings, "other")
    assert "another model" in lapsed(open_store(settings), settings, entry)
