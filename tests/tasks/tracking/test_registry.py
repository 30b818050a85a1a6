"""The registry in a real sqlite MLflow, and a real model served from it in a fresh process."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from PIL import Image

from models.errors import ModelError, TrackingError
from models.generation.open import LocalOptions, open_generator
from models.judging.reward_model import RewardModel
from tasks.store.artifacts import Store
from tasks.store.lending import lend
from tasks.store.maintenance import verify_store
from tasks.tracking.registry import (
    DIGEST_TAG,
    get_alias,
    pinned_digests,
    register,
    save_registry_model,
    set_alias,
    versions,
)
from tasks.tracking.runs import Tracker
from tests.models.slow_media import large_png

REPOSITORY = Path(__file__).resolve().parents[3]
MODEL = Path(os.environ.get("THINKREWARD_TEST_MODEL", REPOSITORY / "models" / "shapes" / "base"))
needs_model = pytest.mark.skipif(not (MODEL / "config.json").is_file(), reason=f"{MODEL} is missing: make base-model")


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    Tracker.connect(f"sqlite:///{path}", "template")
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def add(uri: str, digest: str, source: str | None = None, **tags: object) -> str:
    source = source or f"file:///store/{digest}/files"
    return register(uri, "judge", source_uri=source, run_id="", tags={DIGEST_TAG: digest, **tags}).version


def test_a_version_keeps_its_source_run_tags_and_description(uri: str) -> None:
    with Tracker.connect(uri, "recipe").run("promote") as run:
        pass
    made = register(
        uri, "judge", source_uri="s3://b/model/files", run_id=run.run_id,
        tags={DIGEST_TAG: "d1", "stage": "grpo", "accuracy": 0.9}, description="after GRPO",
    )  # fmt: skip
    assert (made.name, made.version, made.source, made.run_id) == ("judge", "1", "s3://b/model/files", run.run_id)
    assert made.tags == {DIGEST_TAG: "d1", "stage": "grpo", "accuracy": "0.9"}
    assert made.digest == "d1"


def test_registering_an_artifact_twice_gives_its_version_with_the_new_tags(uri: str) -> None:
    assert add(uri, "d1", accuracy=0.8) == "1"
    assert add(uri, "d2") == "2"
    assert add(uri, "d1", accuracy=0.9) == "1"
    assert [(one.version, one.digest) for one in versions(uri, "judge")] == [("1", "d1"), ("2", "d2")]
    assert versions(uri, "judge")[0].tags["accuracy"] == "0.9"


def test_an_artifact_whose_store_moved_is_a_new_version(uri: str) -> None:
    assert add(uri, "d1") == "1"
    assert add(uri, "d1", "s3://new/store/files") == "2"


def test_a_version_without_its_digest_is_refused(uri: str) -> None:
    with pytest.raises(TrackingError, match=DIGEST_TAG):
        register(uri, "judge", source_uri="file:///x", run_id="", tags={})


def test_an_alias_moves_and_is_none_before(uri: str) -> None:
    assert get_alias(uri, "judge", "champion") is None  # no such model
    first, second = add(uri, "d1"), add(uri, "d2")
    assert get_alias(uri, "judge", "champion") is None  # no such alias
    set_alias(uri, "judge", "champion", first)
    set_alias(uri, "judge", "challenger", second)
    champion = get_alias(uri, "judge", "champion")
    assert champion is not None
    assert (champion.version, champion.digest, champion.aliases) == ("1", "d1", ("champion",))
    set_alias(uri, "judge", "champion", second)
    moved = get_alias(uri, "judge", "champion")
    assert moved is not None
    assert moved.digest == "d2"


def test_an_alias_for_a_version_that_is_not_there_is_refused(uri: str) -> None:
    add(uri, "d1")
    with pytest.raises(TrackingError, match="refused"):
        set_alias(uri, "judge", "champion", "7")


def test_what_any_version_names_is_pinned(uri: str, tmp_path: Path) -> None:
    assert pinned_digests(uri, "judge") == set()
    add(uri, "d1")
    add(uri, "d2")
    assert pinned_digests(uri, "judge") == {"d1", "d2"}
    assert pinned_digests(uri, "another") == set()
    absent = tmp_path / "none" / "mlflow.db"
    assert pinned_digests(f"sqlite:///{absent}", "judge") == set()
    assert not absent.parent.exists()


def test_a_registry_that_cannot_be_asked_pins_nothing_silently() -> None:
    with pytest.raises(TrackingError, match="cannot be used"):
        pinned_digests("http://127.0.0.1:9", "judge")


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        save_registry_model(tmp_path, tmp_path / "out")


def stand_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_equal_content_saved_elsewhere_and_later_is_the_same_artifact(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    saved = [
        save_registry_model(
            stand_in(tmp_path / name / "some model"), tmp_path / name / "out",
            config={"max_frames": 4}, metadata={"lineage": {"grpo": "k"}}, card="# Judge\n",
        )
        for name in ("here", "there")
    ]  # fmt: skip
    first, second = (store.publish("registry-model", folder) for folder in saved)
    assert first == second
    mlmodel = (saved[0] / "MLmodel").read_text()
    assert str(tmp_path) not in mlmodel
    assert str(REPOSITORY) not in mlmodel
    assert (saved[0] / "README.md").read_text() == "# Judge\n"
    assert (saved[0] / "artifacts" / "model" / "model.safetensors").read_bytes() == b"weights"


def test_other_weights_settings_or_cards_are_other_artifacts(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    changed = stand_in(tmp_path / "b")
    (changed / "model.safetensors").write_bytes(b"other weights")
    model = stand_in(tmp_path / "a")
    saved = [
        save_registry_model(model, tmp_path / "1"),
        save_registry_model(changed, tmp_path / "2"),
        save_registry_model(model, tmp_path / "3", config={"max_frames": 4}),
        save_registry_model(model, tmp_path / "4", card="# Judge\n"),
    ]
    assert len({store.publish("registry-model", folder).digest for folder in saved}) == 4
    assert len({(folder / "MLmodel").read_text() for folder in saved}) == 4


CONSUMER = """
print("RUNS")
import json, sys
import models, tasks  # the consumer's own
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
judge = mlflow.pyfunc.load_model("models:/thinkreward@champion")
rows = pandas.DataFrame(json.loads(sys.argv[2]))
answers = judge.predict(rows, params={"mode": "direct", "both_orders": True})
assert models.MINE and tasks.MINE
assert not [name for name in sys.modules if name.startswith(("models.", "tasks.", "flows", "configs"))]
print("ANSWER " + answers.to_json(orient="records"))
try:
    judge.predict([{**json.loads(sys.argv[2])[0], "candidate_2": "bomb.png"}])
except Exception as error:
    print("REFUSED", error)
again = judge.predict(rows, params={"mode": "direct", "both_orders": True})
assert again.to_json() == answers.to_json()
"""


@needs_model
def test_a_consumer_with_packages_of_the_same_names_judges_with_the_champion(uri: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "the store"))
    config = {"max_tokens": 24, "decoding_memory_mib": 300, "decoding_timeout_s": 60}
    ref = store.publish("registry-model", save_registry_model(MODEL, tmp_path / "out", config=config))
    made = register(uri, "thinkreward", source_uri=lend(store, ref), run_id="", tags={DIGEST_TAG: ref.digest})
    set_alias(uri, "thinkreward", "champion", made.version)
    for name in ("red", "blue"):
        Image.new("RGB", (56, 56), name).save(tmp_path / f"{name}.png")
    (tmp_path / "bomb.png").write_bytes(large_png())
    script = tmp_path / "consumer.py"
    script.write_text(CONSUMER)
    frames = [Image.new("RGB", (56, 56), (40 * at, 0, 0)) for at in range(3)]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:])
    rows = [
        {"task": "image_generation", "prompt": "a red square", "candidate_1": str(tmp_path / "red.png"),
         "candidate_2": str(tmp_path / "blue.png")},
        {"task": "video_understanding", "prompt": "what moves?", "candidate_1": "a", "candidate_2": "b",
         "media": str(tmp_path / "film.png"), "mode": "think"},
    ]  # fmt: skip
    for package in ("models", "tasks"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("MINE = True\n")
    done = subprocess.run(
        [sys.executable, script, uri, json.dumps(rows)],
        env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}, cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said.count("RUNS") == 1, "the script is run again where media are decoded"
    (refused,) = [line for line in said if line.startswith("REFUSED ")]
    assert "row 0, candidate_2: needs too much memory: more than 300 MiB, the limit" in refused
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    answers = json.loads(line.removeprefix("ANSWER "))
    generator = open_generator(MODEL, LocalOptions(device="cpu", batch=64))
    own = RewardModel(generator, max_tokens=24).compare(rows, mode="direct", both_orders=True)
    assert [answer["mode"] for answer in answers] == ["direct", "think"]
    assert answers == [json.loads(json.dumps(outcome.row())) for outcome in own]
    assert verify_store(store).problems == ()  # MLflow adds a file of its own, and Python compiled modules
    assert (Path(url2pathname(urlsplit(made.source).path)) / "registered_model_meta").is_file()


def test_the_input_example_is_a_request_that_can_be_read() -> None:
    import base64

    from tasks.tracking.registry import ONE_PIXEL

    assert Image.open(io.BytesIO(base64.b64decode(ONE_PIXEL))).convert("RGB").getpixel((0, 0)) == (255, 0, 0)
