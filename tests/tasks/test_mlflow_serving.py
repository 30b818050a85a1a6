"""A registered model behind a real `mlflow models serve`: strangers ask, and learn nothing of the machine."""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow.exceptions import MlflowException

from tasks.store.artifacts import Store
from tasks.store.lending import lend
from tasks.tracking.registry import DIGEST_TAG, ONE_PIXEL, register, save_registry_model, set_alias
from tests.tasks.seaweed import free_ports

BASE = Path(__file__).resolve().parents[2] / "models" / "shapes" / "base"
pytestmark = pytest.mark.slow


class LoadedModel(NamedTuple):
    """Where it answers, the address of the registered model, and the folder with all files of this test."""

    port: int
    source: str
    folder: Path

    def ask(self, body: bytes, kind: str = "application/json") -> tuple[int, str]:
        """The status and the body of the answer."""
        url = f"http://127.0.0.1:{self.port}/invocations"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": kind}), timeout=120) as said:
                return said.status, said.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    folder = tmp_path_factory.mktemp("served")
    store, uri = Store(str(folder / "the store")), f"sqlite:///{folder / 'mlflow.db'}"
    ref = store.publish("registry-model", save_registry_model(BASE, folder / "made", config={"max_tokens": 24}))
    made = register(uri, "judge", source_uri=lend(store, ref), run_id="", tags={DIGEST_TAG: ref.digest})
    set_alias(uri, "judge", "champion", made.version)
    (port,) = free_ports(1)
    serve = ["models", "serve", "-m", "models:/judge@champion", "--env-manager", "local", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *serve], cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        while True:
            assert server.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=10).close()
                break
            except OSError:
                time.sleep(0.5)
        yield LoadedModel(port, made.source, folder)
    finally:
        server.terminate()
        server.wait(30)


def row(**fields: Any) -> dict[str, Any]:
    return {
        "task": "image_generation",
        "prompt": "a red square",
        "candidate_1": ONE_PIXEL,
        "candidate_2": ONE_PIXEL,
    } | fields


def records(*rows: dict[str, Any]) -> bytes:
    params = {"mode": "direct", "both_orders": True}
    return json.dumps({"dataframe_records": rows, "params": params}).encode()


def test_it_answers_what_comes_along_in_the_request(served: LoadedModel) -> None:
    status, said = served.ask(records(row()))
    assert status == 200, said
    assert json.loads(said)["predictions"][0]["mode"] == "direct"


def test_a_file_of_the_server_and_one_that_is_not_there_get_one_answer(served: LoadedModel) -> None:
    there = served.folder / "there.png"
    there.write_bytes(base64.b64decode(ONE_PIXEL))
    absent = there.with_name("other.png")
    for form in (str, Path.as_uri):
        (status, said), (other_status, other) = (served.ask(records(row(candidate_1=form(p)))) for p in (there, absent))
        assert status == other_status == 400
        assert "paths are not looked up here" in said
        assert said.replace("there.png", "other.png") == other


BODIES = {
    "a task that there is not": records(row(task="poetry")),
    "no picture": records(row(candidate_1=base64.b64encode(b"no picture").decode())),
    "a number": records(row(candidate_1=7)),
    "an object": records(row(candidate_1={"a": [1]})),
    "a column too few": records({"task": "image_generation", "prompt": "a"}),
    "a prompt that is a list": records(row(prompt=["a"])),
    "a parameter of the wrong kind": json.dumps(
        {"dataframe_records": [row()], "params": {"max_tokens": "many"}}
    ).encode(),
    "no tokens at all": json.dumps({"dataframe_records": [row()], "params": {"max_tokens": -5}}).encode(),
    "no rows": b'{"dataframe_records": []}',
    "no JSON": b"{",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_no_error_holds_a_stack_trace_or_a_place_of_the_store(served: LoadedModel, body: bytes) -> None:
    status, said = served.ask(body)
    assert status != 200 or "predictions" in said
    for leak in ("Traceback", "stack_trace", "the store", "the%20store", str(served.folder), 'File "'):
        assert leak not in said, said


def test_paths_can_be_turned_on_and_what_mlflow_gave_up_on_stops(
    served: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    there = served.folder / "one.png"
    there.write_bytes(base64.b64decode(ONE_PIXEL))
    asked = [row(candidate_1=str(there))]
    closed = mlflow.pyfunc.load_model(served.source)
    opened = mlflow.pyfunc.load_model(served.source, model_config={"files": True})
    assert len(closed.predict(asked, params={"mode": "direct"})) == 1  # in one's own process
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    with pytest.raises(MlflowException, match="paths are not looked up here"):
        closed.predict(asked, params={"mode": "direct"})
    assert len(opened.predict(asked, params={"mode": "direct"})) == 1
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0")
    with pytest.raises(MlflowException, match=r"Cancelled.*the server's log"):
        opened.predict(asked, params={"mode": "direct"})
