"""Tracking in a real MLflow: a sqlite database, and a real MLflow server that goes away and comes back."""

import json
import logging
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from models.errors import TrackingError
from tasks.tracking.address import normalised, shown
from tasks.tracking.runs import Tracker
from tasks.tracking.sync import Spool
from tests.tasks.mlflow_server import Server

REPOSITORY = Path(__file__).resolve().parents[3]


WRITER = """
import sys
from tasks.tracking.runs import Tracker
tracker = Tracker.connect(sys.argv[1], "template")
with tracker.run("writer") as run:
    for step in range(60):
        run.log_metrics({"a": step, "b": -step}, step)
print(run.lost, run.run_id)
"""


class Writers(NamedTuple):
    """A database that two processes made and wrote into at once, and how each ended: code, output, errors."""

    database: Path
    ended: list[tuple[int, str, str]]


@pytest.fixture(scope="module")
def writers(tmp_path_factory: pytest.TempPathFactory) -> Writers:
    database = tmp_path_factory.mktemp("template") / "new folder" / "mlflow.db"
    command = [sys.executable, "-c", WRITER, f"sqlite:///{database}"]
    both = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        outputs = [writer.communicate(timeout=280) for writer in both]
    finally:
        for writer in both:
            writer.kill()
    return Writers(database, [(writer.returncode, *output) for writer, output in zip(both, outputs, strict=True)])


@pytest.fixture(scope="module")
def empty_database(writers: Writers) -> Path:
    """A database with MLflow's tables, which take seconds to make: tests copy it."""
    return writers.database


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def tracker(uri: str) -> Tracker:
    return Tracker.connect(uri, "recipe")


@pytest.fixture(scope="module")
def backend(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    patch = pytest.MonkeyPatch()
    patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{folder / 'mlflow.db'}")
    patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(folder / "artifacts"))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    yield
    patch.undo()


@pytest.fixture
def server(backend: None) -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def history(tracker: Tracker, run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in tracker.client.get_metric_history(run_id, metric)]


def artifact(tracker: Tracker, run_id: str, path: str) -> str:
    return Path(tracker.client.download_artifacts(run_id, path)).read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Connecting


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
    assert normalised("sqlite:///.thinkreward/mlflow.db") == f"sqlite:///{tmp_path}/.thinkreward/mlflow.db"


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
    assert shown("postgresql://me:pw@db:5432/mlflow") == "postgresql://db:5432/mlflow"
    with pytest.raises(TrackingError) as refused:
        Tracker.connect(uri, "recipe")
    assert "hunter2" not in str(refused.value)


# What a run records


def test_a_run_records_everything_it_is_given(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>")
    with tracker.run("grpo", tags={"stage.key": "k"}, params={"lr": 1e-6, "long": "x" * 9000}) as run:
        run.log_metrics({"reward/accuracy": 0.25, "loss": math.nan, "odd@name": 1}, step=1)
        run.log_metrics({"reward/accuracy": 0.5}, step=2)
        run.log_table("completions", {"prompt": ["a", "b"], "reward": [1.0, 0.0]}, step=2)
        run.log_text("notes/why.txt", "größer")
        run.log_file(tmp_path / "report.html", "report/index.html")
    assert run.lost == 0
    found = tracker.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "grpo"
    assert found.data.tags["stage.key"] == "k"
    assert found.data.params["lr"] == "1e-06"
    assert history(tracker, run.run_id, "reward/accuracy") == [(1, 0.25), (2, 0.5)]
    assert math.isnan(found.data.metrics["loss"])
    assert found.data.metrics["odd_name"] == 1.0
    table = json.loads(artifact(tracker, run.run_id, "tables/completions-000002.json"))
    assert table == {"columns": ["prompt", "reward"], "data": [["a", 1.0], ["b", 0.0]]}
    assert "tables/completions-000002.json" in found.data.tags["mlflow.loggedArtifacts"]
    assert artifact(tracker, run.run_id, "notes/why.txt") == "größer"
    assert artifact(tracker, run.run_id, "report/index.html") == "<p>"
    assert f"mlflow ui --backend-store-uri '{tracker.uri}'" in run.url


def test_a_checkpoint_is_a_logged_model_with_its_step_metrics_and_address_and_no_weights(tracker: Tracker) -> None:
    with tracker.run("grpo") as run:
        run.log_checkpoint("grpo.checkpoint", 20, {"validation/accuracy": 0.8}, "s3://store/files", {"best": True})
        run.log_checkpoint("grpo.checkpoint", 20, {"validation/accuracy": 0.8}, "s3://store/files", {"best": True})
        run.log_checkpoint("grpo.checkpoint", 40, {"validation/accuracy": 0.9}, "s3://store/files")
    models = tracker.client.search_logged_models([tracker.experiment_id])
    assert len(models) == 2  # the repeated call found the first
    (first,) = [model for model in models if model.params["step"] == "20"]
    assert (first.name, first.status, first.source_run_id) == ("grpo_checkpoint", "READY", run.run_id)
    assert first.params == {"best": "True", "step": "20", "uri": "s3://store/files"}
    assert first.tags["thinkreward.uri"] == "s3://store/files"
    measured = [(metric.key, metric.value, metric.step, metric.run_id) for metric in first.metrics or ()]
    assert measured == [("validation/accuracy", 0.8, 20, run.run_id)]
    recorded = tracker.client.get_run(run.run_id).outputs
    outputs = recorded.model_outputs if recorded else []
    assert {(output.model_id, output.step) for output in outputs} >= {(first.model_id, 20)}
    assert len(outputs) == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("bad"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(1), "KILLED"),
        (SystemExit(0), "FINISHED"),
    ],
)
def test_the_status_says_how_the_block_ended_and_the_error_goes_on(
    tracker: Tracker, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), tracker.run("sft") as run:
        raise error
    assert tracker.client.get_run(run.run_id).info.status == status


def test_a_nested_run_names_its_parent(tracker: Tracker) -> None:
    with tracker.run("nightly") as parent, tracker.run("grpo", parent=parent.run_id) as child:
        pass
    assert tracker.client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_a_resumed_run_continues_and_what_it_logs_again_is_one_point(tracker: Tracker) -> None:
    with tracker.run("sft", params={"lr": 1, "threads": 2}) as first:
        first.log_metrics({"loss": 3.0}, step=1)
        first.log_metrics({"loss": 2.0}, step=2)
    with tracker.run("sft", params={"lr": 1, "threads": 4, "new": 5}, run_id=first.run_id) as again:
        assert tracker.client.get_run(first.run_id).info.status == "RUNNING"
        again.log_metrics({"loss": 2.0}, step=2)  # the step after the checkpoint is done again
        again.log_metrics({"loss": 1.0}, step=3)
    assert again.run_id == first.run_id
    assert again.lost == 0
    assert history(tracker, first.run_id, "loss") == [(1, 3.0), (2, 2.0), (3, 1.0)]
    found = tracker.client.get_run(first.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"lr": "1", "threads": "2", "new": "5"}
    assert found.data.tags["resumed.threads"] == "4"


@pytest.mark.parametrize("gone", ["never there", "deleted"])
def test_resuming_a_run_that_is_gone_makes_a_new_one(tracker: Tracker, gone: str) -> None:
    with tracker.run("sft") as earlier:
        pass
    if gone == "deleted":
        tracker.client.delete_run(earlier.run_id)
    wanted = earlier.run_id if gone == "deleted" else "0" * 32
    with tracker.run("sft", run_id=wanted) as run:
        run.log_metrics({"loss": 1.0}, step=1)
    assert run.run_id not in ("", wanted)
    assert run.lost == 0
    assert history(tracker, run.run_id, "loss") == [(1, 1.0)]


# When MLflow fails in the middle


def test_a_server_that_dies_and_comes_back_is_caught_up_in_order(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker.connect(server.uri, "recipe")
    spool = tmp_path / "work" / "tracking.jsonl"
    figure = tmp_path / "figure.svg"
    figure.write_text("<svg/>")
    with tracker.run("grpo", spool=spool, retry_pause_s=0.1) as run:
        assert run.url == f"{server.uri}/#/experiments/{tracker.experiment_id}/runs/{run.run_id}"
        run.log_metrics({"reward": 0.1}, step=1)
        server.stop()
        started = time.monotonic()
        for step in range(2, 40):
            run.log_metrics({"reward": step / 10}, step=step)
        run.log_text("note.txt", "written while it was away")
        run.log_checkpoint("grpo", 20, {"accuracy": 0.5}, "file:///store/model")
        run.log_file(figure)
        assert time.monotonic() - started < 20  # training does not wait for a dead server
        figure.unlink()
        assert run.lost == 41
        assert len(spool.read_text().splitlines()) == 41
        server.start()
        while run.lost:
            time.sleep(0.2)
            run.log_metrics({"poke": 1.0}, step=99)
        run.log_metrics({"reward": 9.0}, step=99)
    assert [step for step, _ in history(tracker, run.run_id, "reward")] == [*range(1, 40), 99]
    assert artifact(tracker, run.run_id, "note.txt") == "written while it was away"
    assert artifact(tracker, run.run_id, "figure.svg") == "<svg/>"
    assert tracker.client.get_run(run.run_id).info.status == "FINISHED"
    assert len(tracker.client.search_logged_models([tracker.experiment_id], f"source_run_id = '{run.run_id}'")) == 1
    assert list(spool.parent.iterdir()) == []
    assert sum("Work goes on" in message for message in caplog.messages) == 1


def test_what_is_lost_is_stated_and_a_resumed_stage_delivers_it(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker.connect(server.uri, "recipe")
    spool = tmp_path / "tracking.jsonl"
    with tracker.run("sft", spool=spool, retry_pause_s=0.05) as run:
        server.stop()
        for step in range(5):
            run.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
    assert run.lost == 6  # five steps and how it ended
    assert any("misses 6 records" in message for message in caplog.messages)
    assert any(f"{spool} keeps them" in message for message in caplog.messages)
    server.start()
    with tracker.run("sft", run_id=run.run_id, spool=spool) as again:
        assert [step for step, _ in history(tracker, run.run_id, "loss")] == [0, 1, 2, 3, 4]
        assert tracker.client.get_run(run.run_id).info.status == "RUNNING"
    assert again.lost == 0
    assert not spool.exists()


def test_a_server_that_is_away_when_a_stage_starts_gets_the_run_later(server: Server, tmp_path: Path) -> None:
    tracker = Tracker.connect(server.uri, "recipe")
    server.stop()
    with tracker.run("evaluate", params={"pairs": 400}, spool=tmp_path / "s.jsonl", retry_pause_s=0.05) as run:
        assert run.run_id == ""
        run.log_metrics({"accuracy": 0.9}, step=0)
        server.start()
    assert run.lost == 0
    found = tracker.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert (found.data.params, found.data.metrics) == ({"pairs": "400"}, {"accuracy": 0.9})


def test_what_can_never_be_delivered_is_dropped_counted_and_holds_nothing_up(
    tracker: Tracker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker.run("sft", spool=tmp_path / "s.jsonl") as run:
        run.log_metrics({"a//b": 1.0}, step=1)  # a name that is no path
        run.log_file(tmp_path / "never written")
        run.log_metrics({"nothing": None}, step=1)  # type: ignore[dict-item]
        run.log_metrics({"loss": 1.0}, step=1)
    assert run.lost == 2
    assert tracker.client.get_run(run.run_id).data.metrics == {"loss": 1.0}
    assert sum("refused" in message for message in caplog.messages) == 2


def test_a_database_that_is_replaced_by_rubbish_does_not_stop_the_work(uri: str, tmp_path: Path) -> None:
    tracker = Tracker.connect(uri, "recipe")
    with tracker.run("sft", spool=tmp_path / "s.jsonl", retry_pause_s=0.01) as run:
        (tmp_path / "mlflow.db").write_bytes(b"rubbish" * 4096)
        run.log_metrics({"loss": 1.0}, step=1)
    assert run.lost == 2


def test_a_spool_cut_off_by_a_kill_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    Spool(path).add({"do": "text", "with": {"path": "a", "text": "b"}})
    with path.open("a") as file:
        file.write('{"do": "text", "wi')
    again = Spool(path)
    again.add({"do": "finish", "with": {}})
    assert [record["do"] for record in Spool(path).waiting()] == ["text", "finish"]


def test_processes_share_a_new_database_without_a_lock_error(writers: Writers) -> None:
    assert [code for code, _, _ in writers.ended] == [0, 0], writers.ended
    assert [out.split()[0] for _, out, _ in writers.ended] == ["0", "0"], writers.ended
    tracker = Tracker.connect(f"sqlite:///{writers.database}", "template")
    for _, out, _ in writers.ended:
        assert len(history(tracker, out.split()[1], "a")) == 60
