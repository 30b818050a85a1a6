"""What doctor finds out once, and when it looks again."""

import shutil
import time
from pathlib import Path

import pytest

import models.backbone
from configs.load import load_settings
from models.errors import ModelError
from tasks.ops.doctor import HealthCheck, _base, _guarded
from tasks.store import remembering

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_base_model_is_loaded_again_when_a_file_of_it_changed_or_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for path in (REPOSITORY / "models" / "shapes" / "base").iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, base)
    places = (f"storage.root={tmp_path / 'store'}", f"storage.cache_dir={tmp_path / 'cache'}")
    settings = load_settings("shapes", (*places, f"model.base={base}"))
    monkeypatch.setattr(remembering, "UNCHANGED_S", 0.02)
    loaded: list[str] = []

    def load(source: Path) -> None:
        loaded.append(source.name)
        if len(loaded) == 1:
            raise ModelError("it cannot be loaded")

    monkeypatch.setattr(models.backbone, "load_processor", load)

    def checked() -> HealthCheck:
        time.sleep(0.05)
        return _guarded("base model", _base, settings)

    assert checked() == HealthCheck("base model", False, "it cannot be loaded")
    assert checked().ok and checked().ok and loaded == ["base"] * 2
    (base / "tokenizer_config.json").write_text("{}")
    assert checked().ok and checked().ok and loaded == ["base"] * 3
    (base / "added.json").write_text("{}")
    assert checked().ok and loaded == ["base"] * 4
