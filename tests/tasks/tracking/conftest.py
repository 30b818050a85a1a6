"""A database with MLflow's tables, made once by two processes at once; copies of it, and a tracker on one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.tracking.runs import Tracker
from tests.tasks.mlflow_server import Writers

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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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
