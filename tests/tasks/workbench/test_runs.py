"""What the Runs page says of a stage and of a lineage."""

from pathlib import Path

from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings

from tasks.pipeline.run import open_store
from tasks.store.artifacts import ArtifactRef, IndexEntry
from tasks.store.maintenance import Lineage, Production
from tasks.workbench.runs import _links, _node, stage_rows
from tests.tasks.workbench.bench import settings_below

RUN = "0b0e8b1a-0000-4000-8000-000000000001"


def entry(stage: str = "grpo", **run_ids: str) -> IndexEntry:
    return IndexEntry(stage=stage, key="a" * 64, outputs={}, run_ids=run_ids)


def test_a_stage_links_to_its_runs_where_those_have_pages() -> None:
    api = "http://127.0.0.1:4200/api"
    with temporary_settings({PREFECT_API_URL: api, PREFECT_UI_URL: "http://127.0.0.1:4200"}):
        found = dict(_links(entry(mlflow_url="https://mlflow.example/#/runs/1", prefect=RUN)))
    assert found == {
        "MLflow": "https://mlflow.example/#/runs/1",
        "Prefect": f"http://127.0.0.1:4200/runs/flow-run/{RUN}",
    }
    assert list(_links(entry(mlflow_url="mlflow ui --backend-store-uri sqlite:///mlflow.db"))) == []


def test_of_an_empty_store_every_stage_is_to_do_and_says_why(tmp_path: Path) -> None:
    settings = settings_below(tmp_path)
    rows = {row.name: row for row in stage_rows(settings, open_store(settings))}
    assert {row.state for row in rows.values()} == {"to do"}
    assert rows["prepare"].why == "never computed in this store"
    assert rows["distill"].why == "waits for prepare"


def test_a_lineage_tells_each_artifact_once_and_counts_drops() -> None:
    def ref(kind: str, digit: str) -> ArtifactRef:
        return ArtifactRef(kind=kind, digest=digit * 64, size=1, n_files=1)

    def made(kind: str, digit: str, stage: str, **inputs: Lineage) -> Lineage:
        production = Production(entry=entry(stage), output=kind, inputs=inputs)
        return Lineage(ref=ref(kind, digit), made_by=(production,))

    drops = {f"drop-{at}": Lineage(ref=ref("drop", "d"), made_by=()) for at in range(3)}
    preferences = made("preferences", "1", "prepare", **drops)
    distilled = made("distilled", "2", "distill", preferences=preferences)
    tree = _node(made("model", "3", "cold-start", preferences=preferences, distilled=distilled), set())
    first, second = tree.below
    assert first.label == f"preferences {'1' * 12} by prepare"
    assert [one.label for one in first.below] == ["3 submissions of the inbox"]
    assert [one.label for one in second.below] == [f"preferences {'1' * 12} by prepare, see above"]
