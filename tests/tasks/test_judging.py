"""Models by name."""

from pathlib import Path

import pytest

from configs.load import load_settings
from configs.schema import Settings
from models.errors import ArtifactCorrupt, ConfigError
from tasks.judging import find_model
from tasks.stages import open_store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    places = (f"storage.root={tmp_path / 'store'}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    return load_settings("shapes", places)


def test_a_damaged_model_is_told_from_one_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "weights").write_text("some weights")
    store = open_store(settings)
    ref = store.publish("model", tmp_path / "made")
    assert (find_model(settings, ref.digest) / "weights").read_text() == "some weights"
    with pytest.raises(ConfigError, match=r"there is no model 'ffff' \(no artifact in .* starts with 'ffff'\)"):
        find_model(settings, "ffff")
    stored = store.objects.local_path(f"{ref.path}/files/weights")
    assert stored is not None
    stored.chmod(0o644)
    stored.write_text("fewer")
    with pytest.raises(ArtifactCorrupt, match=r"weights of model \w+ hashes to"):
        find_model(settings, ref.digest)
