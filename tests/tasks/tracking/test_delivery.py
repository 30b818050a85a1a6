"""A real MLflow server that is away for whole stages: their records wait in the store, and arrive later, once."""

import json
import logging
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from configs.load import load_settings
from configs.schema import Settings
from flows.cli.main import main
from models.errors import TrackingError
from tasks.pipeline.child import Child, Job
from tasks.pipeline.graph import RECIPE
from tasks.pipeline.run import open_store
from tasks.stages.context import RUN_FILE, stage_context
from tasks.tracking.delivery import deliver
from tasks.tracking.outbox import waiting_tokens
from tasks.tracking.runs import Tracker
from tests.tasks.mlflow_server import Server

STEPS = range(1, 6)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to make."""
    database = tmp_path_factory.mktemp("tables") / "mlflow.db"
    Tracker.connect(f"sqlite:///{database}", "made")
    return database


@pytest.fixture(scope="module")
def backend(tables: Path) -> Iterator[None]:
    """MLflow's application opens its database once a process: each test has an experiment of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{tables}")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(tables.parent / "artifacts"))
        yield


@pytest.fixture
def server(backend: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("tasks.tracking.tracked_run.RETRY_PAUSE_S", 0.01)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def settings(server: Server, tmp_path: Path) -> Settings:
    return load_settings("shapes", given(server, tmp_path))


def given(server: Server, folder: Path) -> list[str]:
    return [
        f"storage.root={folder / 'store'}",
        f"storage.cache_dir={folder / 'cache'}",
        f"tracking.uri={server.uri}",
        f"tracking.experiment={folder.name}",
    ]


def work(settings: Settings, stage: str, folder: Path, key: str = "ab" * 32) -> None:
    """One attempt of a stage that logs as stages do."""
    job = Job(stage=stage, key=key, body="", settings=settings, inputs={})
    folder.mkdir(parents=True, exist_ok=True)
    with stage_context(job, Child(), folder) as context:
        for step in STEPS:
            context.run.log_metrics({"loss": 1.0 / step}, step=step)
        (folder / "yield.json").write_text('{"kept": 3}')
        context.run.log_file(folder / "yield.json")
        context.run.log_table("completions", {"prompt": [stage]}, step=2)
        context.run.log_checkpoint(stage, 2, {"accuracy": 0.5}, "file:///store/model")


def silent(line: str) -> None:
    """Nobody listens."""


def found(settings: Settings, stage: str) -> dict[str, object]:
    """What MLflow has of a stage; there is one run of it, no more."""
    tracker = Tracker.connect(settings.tracking.uri, settings.tracking.experiment)
    of_stage = f"tags.`thinkreward.stage` = '{stage}'"
    (run,) = tracker.client.search_runs([tracker.experiment_id], filter_string=of_stage)
    points = tracker.client.get_metric_history(run.info.run_id, "loss")
    models = tracker.client.search_logged_models([tracker.experiment_id], f"source_run_id = '{run.info.run_id}'")
    kept = tracker.client.download_artifacts(run.info.run_id, "yield.json")
    assert all(run.info.start_time <= point.timestamp <= run.info.end_time for point in points)
    return {
        "status": run.info.status,
        "points": [(point.step, point.value) for point in points],
        "models": len(models),
        "file": Path(kept).read_text(),
        "profile": run.data.tags["thinkreward.profile"],
        "tables": json.loads(run.data.tags["mlflow.loggedArtifacts"]),
        "parameters": bool(run.data.params),
    }


WHOLE = {
    "status": "FINISHED",
    "points": [(step, 1.0 / step) for step in STEPS],
    "models": 1,
    "file": '{"kept": 3}',
    "profile": "shapes",
    "tables": [{"path": "tables/completions-000002.json", "type": "table"}],
    "parameters": True,
}


@pytest.mark.slow
def test_of_seven_stages_that_mlflow_was_away_for_all_records_arrive_later_and_once(
    server: Server, settings: Settings, tmp_path: Path
) -> None:
    server.stop()
    for stage in RECIPE:
        work(settings, stage, tmp_path / stage)
        shutil.rmtree(tmp_path / stage)
    shutil.rmtree(tmp_path / "cache")  # the machine is gone; the store is not
    assert len(waiting_tokens(open_store(settings))) == len(RECIPE)
    server.start()
    said = deliver(open_store(settings), settings, silent)
    assert (said.runs, said.waiting, said.refused) == (7, 0, 0)
    assert {stage: found(settings, stage) for stage in RECIPE} == dict.fromkeys(RECIPE, WHOLE)
    assert waiting_tokens(open_store(settings)) == []
    assert deliver(open_store(settings), settings, silent).runs == 0


def test_a_delivery_that_was_interrupted_is_done_again_and_adds_nothing(
    server: Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    work(settings, "grpo", tmp_path / "scratch")
    server.start()
    with monkeypatch.context() as patch:
        patch.setattr("tasks.store.work.Work.clear", interrupted)  # everything is delivered, and nothing struck out
        with pytest.raises(KeyboardInterrupt):
            deliver(open_store(settings), settings, silent)
    assert waiting_tokens(open_store(settings)) != []
    assert deliver(open_store(settings), settings, silent).runs == 1
    assert found(settings, "grpo") == WHOLE


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_resumed_stage_delivers_what_its_first_attempt_could_not_into_one_run(
    server: Server, settings: Settings, tmp_path: Path
) -> None:
    server.stop()
    work(settings, "grpo", tmp_path / "scratch")
    shutil.rmtree(tmp_path / "cache")  # the second attempt is on another machine
    server.start()
    work(settings, "grpo", tmp_path / "scratch")
    assert found(settings, "grpo") == WHOLE
    assert waiting_tokens(open_store(settings)) == []


def test_a_run_whose_creation_was_not_answered_is_found_again_and_not_made_twice(
    server: Server, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    create = MlflowClient.create_run

    def cut_off(client: MlflowClient, *arguments: object, **named: object) -> None:
        create(client, *arguments, **named)  # type: ignore[arg-type]
        raise ConnectionError("the connection broke before the answer came")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", cut_off)
        work(settings, "grpo", tmp_path / "scratch")
    deliver(open_store(settings), settings, silent)
    assert found(settings, "grpo") == WHOLE


def test_an_attempt_that_was_killed_before_it_kept_the_runs_id_is_resumed_in_its_run(
    server: Server, settings: Settings, tmp_path: Path
) -> None:
    work(settings, "grpo", tmp_path / "scratch")
    kept = open_store(settings).work("grpo", "ab" * 32)
    kept.put_json(RUN_FILE, {**kept.get_json(RUN_FILE), "run_id": ""})
    work(settings, "grpo", tmp_path / "scratch")
    assert found(settings, "grpo") == WHOLE


def test_one_value_that_is_refused_costs_itself_alone(
    server: Server, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker.connect(settings.tracking.uri, "recipe")
    with tracker.run("sft", params={"good": 1, "a//b": 2}) as run:
        run.log_metrics({"loss": 1.0, "a//b": 2.0, "reward": 3.0}, step=1)
    known = tracker.client.get_run(run.run_id).data
    assert (known.metrics, known.params) == ({"loss": 1.0, "reward": 3.0}, {"good": "1"})
    assert run.lost == 2
    assert sum("refused the metric a//b" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(("status", "page"), [(404, "<h1>no such page</h1>"), (400, "bad gateway"), (200, "<html>")])
def test_the_page_of_a_proxy_before_mlflow_is_an_outage_and_no_refusal(
    status: int, page: str, server: Server, settings: Settings, tmp_path: Path
) -> None:
    class Proxy(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page.encode())

        do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Silent."""

    server.stop()
    with ThreadingHTTPServer(("127.0.0.1", server.port), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        work(settings, "grpo", tmp_path / "scratch")
        proxy.shutdown()
    server.start()
    assert deliver(open_store(settings), settings, silent).refused == 0
    assert found(settings, "grpo") == WHOLE


def test_what_belongs_to_a_stage_at_work_is_left_to_it(server: Server, settings: Settings, tmp_path: Path) -> None:
    server.stop()
    work(settings, "grpo", tmp_path / "scratch")
    server.start()
    store = open_store(settings)
    with store.lease("grpo", "ab" * 32, owner="a stage running"):
        assert deliver(store, settings, silent).running == 1
        assert waiting_tokens(store) != []
    assert deliver(store, settings, silent).runs == 1


def test_sync_delivers_and_says_so_and_fails_while_mlflow_is_away(
    server: Server, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    work(settings, "grpo", tmp_path / "scratch")
    with pytest.raises(TrackingError):
        deliver(open_store(settings), settings, silent)
    server.start()
    words = [word for one in given(server, tmp_path) for word in ("--set", one)]
    with pytest.raises(SystemExit) as ended:
        main(["sync", *words])
    assert ended.value.code == 0
    assert "1 MLflow runs completed; 0 records wait on" in capsys.readouterr().out
    assert found(settings, "grpo") == WHOLE
