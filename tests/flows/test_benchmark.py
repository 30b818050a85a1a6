"""The flow `benchmark` as Prefect runs it: scores come back, and the run's page has the table."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ParameterTypeError
from prefect.testing.utilities import prefect_test_harness

from flows.benchmark import benchmark
from tests.tasks.published_shapes import write_vl_reward_bench

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PAIRS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VL-RewardBench's layout, and a store of its own."""
    write_vl_reward_bench(tmp_path / "bench", PAIRS)
    monkeypatch.setenv("THINKREWARD__STORAGE__ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("THINKREWARD__STORAGE__CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("THINKREWARD__TRACKING__URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path / "bench"


def test_a_run_ends_with_its_table_as_an_artifact(server: None, folder: Path) -> None:
    sets = [{"name": "vl_reward_bench", "path": str(folder)}]
    scores = benchmark(sets=sets, judges=["base"], direct=True)  # type: ignore[arg-type]  # as a form sends it
    measured = scores["judges"]["base"]["vl_reward_bench"]
    assert (measured["pairs"], measured["judgments"]) == (PAIRS, 2 * PAIRS)
    with get_client(sync_client=True) as client:
        shown = [one for one in client.read_artifacts() if one.key == "leaderboard"]
        (run,) = [one for one in client.read_flow_runs() if one.name.startswith("benchmark-shapes-")]
    assert [one.flow_run_id for one in shown] == [run.id]
    assert "| base | vl_reward_bench |" in str(shown[0].data)


def test_no_benchmark_and_an_unknown_one_are_refused_before_anything_is_judged(server: None) -> None:
    for sets in ([], [{"name": "vl_rewardbench", "path": "/data"}]):
        with pytest.raises(ParameterTypeError, match="sets"):
            benchmark(sets=sets)  # type: ignore[arg-type]
