"""When MLflow fails in the middle: a real MLflow server that goes away and comes back."""

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.tracking.runs import Tracker
from tests.tasks.mlflow_server import Server, artifact, history


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
