"""`thinkreward workbench`: pages in a browser over the models, the store and the registry."""

from typing import Annotated

import typer

from flows.cli.console import screen
from flows.cli.options import DEFAULT_PROFILE, Profile, Sets
from flows.cli.serve import LOOPBACK, TOKEN, for_server
from models.errors import ConfigError


def workbench(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8080,
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
) -> None:
    """Judge, compare, look into runs and traces, in a browser; THINKREWARD_SERVE_TOKEN, if set, is the password."""
    settings, token = for_server(profile, sets)
    if host not in LOOPBACK and not token:
        raise ConfigError(f"whoever reaches {host} could read and vote: set {TOKEN}, and put TLS in front")
    import uvicorn

    from tasks.workbench.app import make_app

    app = make_app(settings, token=token, anywhere=host not in LOOPBACK)
    screen.print(f"workbench on http://{host}:{port}")
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=5)
