"""What a run records in a real MLflow: a sqlite database."""

import json
import math
from pathlib import Path

import pytest

from tasks.tracking.runs import Tracker
from tests.tasks.mlflow_server import artifact, history


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
