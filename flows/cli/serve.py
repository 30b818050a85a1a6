"""`thinkreward serve`: the judge as an HTTP service."""

import os
from typing import Annotated

import typer

from configs.schema import Settings
from flows.cli.console import screen
from flows.cli.options import DEFAULT_PROFILE, Profile, Sets, settings_from
from models.errors import ConfigError

TOKEN = "THINKREWARD_SERVE_TOKEN"  # noqa: S105  (the variable's name)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def for_server(profile: str, sets: list[str] | None) -> tuple[Settings, str]:
    """A server's settings and its callers' token. Torch, which is not imported yet, gets the settings' threads."""
    settings = settings_from(profile, sets)
    os.environ.setdefault("OMP_NUM_THREADS", str(settings.runtime.threads))  # read once, when torch is imported
    return settings, os.environ.get(TOKEN, "")


def serve(
    model: Annotated[
        str, typer.Option(help="registry alias (followed), artifact digest, base, or a folder such as ./model")
    ] = "champion",
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8000,
    insecure: Annotated[bool, typer.Option("--insecure", help="let anybody ask, beyond loopback too")] = False,
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
) -> None:
    """Serve comparisons, rankings and chat completions over HTTP; THINKREWARD_SERVE_TOKEN is what callers must send."""
    settings, token = for_server(profile, sets)
    if host not in LOOPBACK and not token:
        warning = f"anybody who reaches {host} may ask: set {TOKEN}, and put TLS in front"
        if not insecure:
            raise ConfigError(f"{warning}; or say yes to it with --insecure")
        screen.print(f"[yellow]{warning}[/]")
    import uvicorn

    from tasks.serving.app import make_app

    app = make_app(model, settings, token=token)
    screen.print(f"judge {model} on http://{host}:{port}, its API at /docs")
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=int(settings.serve.timeout_s))
