"""Inputs and models by name: digests, aliases, and what is refused."""

from pathlib import Path

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import ArtifactCorrupt, ConfigError
from tasks.judging.files import find_model
from tasks.pipeline.graph import STAGES
from tasks.pipeline.pinning import MODEL_TAG, resolve_pins
from tasks.pipeline.plan import Planner
from tasks.pipeline.run import open_store
from tasks.store.artifacts import ArtifactRef, Store
from tasks.tracking.registry import DIGEST_TAG, register, set_alias

GRPO = STAGES["grpo"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = (f"storage.root={tmp_path / 'store'}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    return load_settings("shapes", places)


def published(store: Store, kind: str, folder: Path) -> ArtifactRef:
    made = folder / kind
    made.mkdir()
    (made / "file.txt").write_text(kind)
    return store.publish(kind, made)


def test_digests_and_kinds_name_an_artifact(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    model, data = published(store, "model", tmp_path), published(store, "preferences", tmp_path)
    pins = {"model": f"model/{model.digest}", "preferences": data.short}
    assert resolve_pins(store, settings, GRPO, pins) == {"model": model, "preferences": data}


@pytest.mark.parametrize("name", ["champion", "models:/thinkreward@champion", "models:/thinkreward/1"])
def test_a_registered_model_names_its_artifact(name: str, settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    model = published(store, "model", tmp_path)
    uri = settings.tracking.uri
    tags = {DIGEST_TAG: "0" * 64, MODEL_TAG: model.digest}
    version = register(uri, "thinkreward", source_uri=store.uri(model), run_id="", tags=tags)
    set_alias(uri, "thinkreward", "champion", version.version)
    assert resolve_pins(store, settings, GRPO, {"model": name}) == {"model": model}


@pytest.mark.parametrize(
    ("pins", "told"),
    [
        ({"models": "abc"}, "choose of model, trajectories, preferences"),  # no such input
        ({"preferences": "ffff"}, "no artifact in"),  # no such artifact, and data has no aliases
        ({"model": "runner-up"}, "it is no alias of thinkreward"),
    ],
)
def test_a_pin_that_leads_nowhere_is_refused(pins: dict[str, str], told: str, settings: Settings) -> None:
    with pytest.raises(ConfigError, match=told):
        resolve_pins(open_store(settings), settings, GRPO, pins)


def test_an_artifact_of_another_kind_is_refused(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    data = published(store, "preferences", tmp_path)
    with pytest.raises(ConfigError, match="give an artifact of kind model"):
        resolve_pins(store, settings, GRPO, {"model": data.digest})


def test_pinned_inputs_need_no_upstream_stage(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    kinds = ("model", "trajectories", "preferences")
    refs = {kind: published(store, kind, tmp_path) for kind in kinds}
    pins = {kind: ref.digest for kind, ref in refs.items()}
    assert Planner(store, settings).ready("grpo", pins).inputs == refs


def test_a_damaged_model_is_told_from_one_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    store = open_store(settings)
    ref = published(store, "model", tmp_path)
    assert (find_model(settings, ref.digest) / "file.txt").read_text() == "model"
    with pytest.raises(ConfigError, match=r"there is no model 'ffff' \(no artifact in .* starts with 'ffff'\)"):
        find_model(settings, "ffff")
    stored = store.objects.local_path(f"{ref.path}/files/file.txt")
    assert stored is not None
    stored.chmod(0o644)
    stored.write_text("fewer")
    with pytest.raises(ArtifactCorrupt, match=r"file\.txt of model \w+ hashes to"):
        find_model(settings, ref.digest)


def test_a_folder_of_the_same_name_changes_nothing_and_is_named_by_its_path(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "champion").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"for the folder write \./champion"):
        find_model(settings, "champion")
    assert find_model(settings, "./champion") == Path("./champion")
