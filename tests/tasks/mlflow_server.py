"""MLflow's own REST application on a real socket, which can be stopped and started; what a tracker has recorded."""

import threading
from pathlib import Path
from typing import NamedTuple

from tasks.tracking.runs import Tracker


class Server:
    """Serves what the environment names (`_MLFLOW_SERVER_FILE_STORE`), on one port for its whole life."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.start()

    def start(self) -> None:
        """Begin to answer."""
        from mlflow.server import app
        from werkzeug.serving import make_server

        self._server = make_server("127.0.0.1", self.port, app, threaded=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Be away."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


class Writers(NamedTuple):
    """A database that two processes made and wrote into at once, and how each ended: code, output, errors."""

    database: Path
    ended: list[tuple[int, str, str]]


def history(tracker: Tracker, run_id: str, metric: str) -> list[tuple[int, float]]:
    """Step and value of each point of a metric."""
    return [(point.step, point.value) for point in tracker.client.get_metric_history(run_id, metric)]


def artifact(tracker: Tracker, run_id: str, path: str) -> str:
    """A text that a run stored."""
    return Path(tracker.client.download_artifacts(run_id, path)).read_text()
