"""Prefect's temporary server, which runs without PREFECT_API_URL get, so that it ends with the run that started it.

Prefect ends it when Python exits. After `kill -9` or a crash of that process its own would run on for ever, with its
port and memory; this one holds the other end of a pipe, and leaves when that closes.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from models.lifeline import leave_with_parent
from tasks.pipeline.graph import REPOSITORY

APP = "prefect.server.api.server:create_app"
OF_SERVER = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


def is_temporary() -> bool:
    """Whether Prefect would start a temporary server for a flow, since no other is set.

    Loads Prefect, which takes a second, only where something here may say otherwise.
    """
    if not _may_name_a_server():
        return True
    from prefect.client.base import ServerType, determine_server_type

    return determine_server_type() is ServerType.EPHEMERAL


def _may_name_a_server() -> bool:
    """Whether there is any of what Prefect takes settings from: its environment, profiles, and files in this folder."""
    if any(name in os.environ for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")):
        return True
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    if any(path.is_file() for path in (home / "profiles.toml", Path("prefect.toml"), Path(".env"))):
        return True
    project = Path("pyproject.toml")
    return project.is_file() and "[tool.prefect" in project.read_text(encoding="utf-8", errors="replace")


def tie_temporary_server() -> None:
    """To be called before a flow: the temporary server, if Prefect is going to start one, ends with this process."""
    if is_temporary():
        _make_tied()


def _make_tied() -> None:
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    class TiedServer(SubprocessASGIServer):
        """Prefect asks its class for the one server of a process, which is whatever was made first: this."""

        def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
            path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
            settings = get_current_settings().to_environment_variables(exclude_unset=True)
            return subprocess.Popen(
                [sys.executable, "-m", "tasks.orchestration.temporary_server", str(self.port)],
                env={**os.environ, **OF_SERVER, **settings, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
            )

    TiedServer()


def main() -> None:
    """Entry of the server's process, with its port."""
    import uvicorn

    leave_with_parent()
    uvicorn.run(APP, factory=True, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="on")


if __name__ == "__main__":
    main()
