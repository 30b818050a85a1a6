"""Opening an experiment in a real MLflow: what it makes, what it refuses, and how soon."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.errors import TrackingError
from tasks.tracking.address import absolute_uri, without_credentials
from tasks.tracking.runs import Tracker
from tests.tasks.mlflow_server import Writers, history

REPOSITORY = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_importing_the_module_imports_no_mlflow() -> None:
    names = "[m for m in sys.modules if m in ('mlflow', 'torch')]"
    code = f"import sys, tasks.tracking.runs, tasks.tracking.registry; print({names})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_connecting_makes_the_folder_the_database_and_the_experiment_beside_it(empty_database: Path) -> None:
    assert empty_database.is_file()
    again = Tracker.connect(f"sqlite:///{empty_database}", "template")
    experiments = again.client.search_experiments(filter_string="name = 'template'")
    assert [one.experiment_id for one in experiments] == [again.experiment_id]
    assert experiments[0].artifact_location == (empty_database.parent / "mlflow-artifacts").as_uri()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["DO_NOT_TRACK"] == "true"


def test_a_relative_database_means_the_same_from_every_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///.thinkreward/mlflow.db") == f"sqlite:///{tmp_path}/.thinkreward/mlflow.db"


def test_a_server_that_is_not_there_is_refused_fast_with_the_cure() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(TrackingError, match="mlflow server") as refused:
        Tracker.connect(uri, "recipe")
    assert time.monotonic() - started < 20  # with MLflow's own retries it would be minutes
    assert uri in str(refused.value)


def test_a_server_that_accepts_and_never_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.tracking.address.ANSWER_S", 0.5)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(TrackingError, match=r"no answer within|timed out"):
        Tracker.connect(f"http://127.0.0.1:{silent.getsockname()[1]}", "recipe")


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "mlruns", "", "sqlite:///", "sqlite://"])
def test_an_address_that_mlflow_does_not_serve_is_refused_with_one_that_it_does(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"sqlite:///folder/mlflow\.db"):
        Tracker.connect(uri, "recipe")


def test_a_database_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrackingError, match="choose a path that can be written"):
        Tracker.connect(f"sqlite:///{tmp_path}/file/mlflow.db", "recipe")
    (tmp_path / "text.db").write_text("no database, but long enough to be looked at" * 100)
    with pytest.raises(TrackingError, match="not a database"):
        Tracker.connect(f"sqlite:///{tmp_path}/text.db", "recipe")


def test_a_deleted_experiment_is_refused_with_the_command_that_restores_it(uri: str, tracker: Tracker) -> None:
    tracker.client.delete_experiment(tracker.experiment_id)
    with pytest.raises(TrackingError, match=f"restore --experiment-id {tracker.experiment_id}"):
        Tracker.connect(uri, "recipe")


def test_no_message_shows_a_password() -> None:
    uri = f"http://someone:hunter2@127.0.0.1:{free_port()}"
    assert without_credentials("postgresql://me:pw@db:5432/mlflow") == "postgresql://db:5432/mlflow"
    with pytest.raises(TrackingError) as refused:
        Tracker.connect(uri, "recipe")
    assert "hunter2" not in str(refused.value)


def test_processes_share_a_new_database_without_a_lock_error(writers: Writers) -> None:
    assert [code for code, _, _ in writers.ended] == [0, 0], writers.ended
    assert [out.split()[0] for _, out, _ in writers.ended] == ["0", "0"], writers.ended
    tracker = Tracker.connect(f"sqlite:///{writers.database}", "template")
    for _, out, _ in writers.ended:
        assert len(history(tracker, out.split()[1], "a")) == 60
