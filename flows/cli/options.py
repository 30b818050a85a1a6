"""Options that every command shares, and how they become settings."""

import logging
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from configs.load import SettingsError, active_profile, load_settings
from configs.schema import Settings
from models.errors import ConfigError

Profile = Annotated[str, typer.Option("--profile", "-p", help="profile name (configs/NAME.yaml) or a YAML file")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="SECTION.FIELD=VALUE", help="change one setting")
]
Json = Annotated[bool, typer.Option("--json", help="quiet; one JSON object on standard output")]
Refresh = Annotated[list[str] | None, typer.Option("--refresh", metavar="STAGE", help="compute this stage again")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say which stages would run and why, and stop")]

Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=ARTIFACT", help="this artifact (digest, alias) in place of the latest"),
]
BuildMissing = Annotated[
    bool, typer.Option("--build-missing", help="first run the stages before it that have no result yet")
]

DEFAULT_PROFILE = active_profile()
STATE_FOLDER = Path(".thinkreward")
# Nothing here calls home, and Prefect keeps its records beside the artifacts unless told otherwise.
ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",  # after Ctrl-C, of events that no server takes any more
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # 20 is too short on a machine with other work
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # on a server, 90 s of silence mark a run as crashed
}


def settle_environment() -> None:
    """Set what must be set before Prefect is imported; what the user has set stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if "PREFECT_API_URL" not in os.environ:
        os.environ.setdefault("PREFECT_HOME", str((STATE_FOLDER / "prefect").resolve()))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def make_prefect_home() -> None:
    """Prefect makes its own folder when it is imported, but none above it, and without it no run begins."""
    if home := os.environ.get("PREFECT_HOME"):
        Path(home).expanduser().mkdir(parents=True, exist_ok=True)


def program() -> str:
    """What to type for this program: its name if the shell finds it, else its path from here."""
    path = Path(sys.argv[0])
    found = shutil.which("thinkreward")
    if path.name != "thinkreward" or (found and Path(found).resolve() == path.resolve()):
        return "thinkreward"
    here = Path.cwd()
    return str(path.resolve().relative_to(here)) if path.resolve().is_relative_to(here) else str(path)


def given_options(profile: str, sets: list[str] | None) -> str:
    """The options that a next command needs to mean the same settings, with a blank before them."""
    words = ["--profile", profile] if profile != DEFAULT_PROFILE else []
    words += [word for one in sets or () for word in ("--set", one)]
    return "".join(f" {shlex.quote(word)}" for word in words)


def pinned(inputs: list[str] | None) -> dict[str, str]:
    """`--input NAME=ARTIFACT` options as a mapping. Raises `ConfigError` for one without either."""
    return named(inputs, "--input", "NAME=ARTIFACT, such as model=champion")


def named(words: list[str] | None, what: str, form: str) -> dict[str, str]:
    """`NAME=VALUE` words as a mapping. Raises `ConfigError` for one without either."""
    pins: dict[str, str] = {}
    for one in words or ():
        name, equals, which = one.partition("=")
        if not (name and equals and which):
            raise ConfigError(f"{what} {one!r} is malformed: write {form}")
        pins[name] = which
    return pins


def settings_from(profile: str, sets: list[str] | None) -> Settings:
    """The profile with its changes. Raises `ConfigError`, exit status 2."""
    try:
        return load_settings(profile, sets or ())
    except SettingsError as error:
        raise ConfigError(str(error)) from error
