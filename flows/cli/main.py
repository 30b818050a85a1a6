"""`thinkreward`: a thin command line over the flows. Prefect is imported when a flow runs, not for `--help`."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

from configs.load import SettingsError
from flows.cli.artifacts import artifacts
from flows.cli.console import out, print_json, screen
from flows.cli.data import data
from flows.cli.options import (
    DEFAULT_PROFILE,
    BuildMissing,
    DryRun,
    Inputs,
    Json,
    Profile,
    Refresh,
    Sets,
    given_options,
    make_prefect_home,
    pinned,
    program,
    settings_from,
    settle_environment,
)
from flows.cli.serve import serve
from flows.cli.stack import stack
from flows.cli.tools import benchmark, doctor, estimate, judge, rehearse
from flows.cli.workbench import workbench
from models.errors import ConfigError, ThinkrewardError
from tasks.pipeline.graph import RECIPE

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Train chain-of-thought reward models for images and video. `thinkreward run` does the whole recipe.",
)
# What `--help` groups commands under.
RECIPE_PANEL, USE_PANEL = "The recipe", "Use a judge"
CHECK_PANEL, KEEP_PANEL = "Check first", "Data, artifacts, services"

Stages = Annotated[
    list[str] | None, typer.Argument(metavar="[STAGE]...", help=f"of {', '.join(RECIPE)}; all by default")
]
INTERRUPTED = 130


@app.command(rich_help_panel=RECIPE_PANEL)
def run(
    stages: Stages = None,
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
    refresh: Refresh = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Run the recipe, or the stages named, reusing what is unchanged."""
    _run(stages or list(RECIPE), profile, sets, refresh, dry_run, as_json)


def approve(
    version: Annotated[str, typer.Argument(help="the registered version, as promote gave it")],
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Say yes to a version that waits for it (promote.approval): it becomes champion."""
    from tasks.stages.approve import make_champion

    message = make_champion(settings_from(profile, sets), version)
    if as_json:
        print_json({"version": version, "says": message})
    else:
        out.print(message)


def sync(profile: Profile = DEFAULT_PROFILE, sets: Sets = None, as_json: Json = False) -> None:
    """Deliver to MLflow what it missed while it was away; exit status 1 if something still waits."""
    from tasks.pipeline.run import open_store
    from tasks.tracking.delivery import deliver

    settings = settings_from(profile, sets)
    delivered = deliver(open_store(settings), settings, lambda line: screen.print(line, markup=False))
    if as_json:
        print_json(delivered.model_dump())
    else:
        out.print(
            f"{delivered.runs} MLflow runs completed; {delivered.waiting} records wait on, "
            f"{delivered.refused} were refused"
            + (f"; {delivered.running} runs belong to stages running, which deliver them" if delivered.running else "")
        )
    if delivered.waiting:
        raise typer.Exit(1)


def _stage_command(name: str) -> None:
    def command(
        profile: Profile = DEFAULT_PROFILE,
        sets: Sets = None,
        inputs: Inputs = None,
        build_missing: BuildMissing = False,
        refresh: Annotated[bool, typer.Option("--refresh", help="compute again even if nothing changed")] = False,
        dry_run: DryRun = False,
        as_json: Json = False,
    ) -> None:
        again = [name] if refresh else None
        _run([name], profile, sets, again, dry_run, as_json, pins=pinned(inputs), build_missing=build_missing)

    words = f"Run the stage {name} on its newest upstream artifacts."
    app.command(name, help=words, rich_help_panel=RECIPE_PANEL)(command)


for _name in RECIPE:
    _stage_command(_name)
app.command(rich_help_panel=RECIPE_PANEL)(approve)
app.command(rich_help_panel=USE_PANEL)(judge)
app.command(rich_help_panel=USE_PANEL)(benchmark)
app.command(rich_help_panel=USE_PANEL)(serve)
app.command(rich_help_panel=USE_PANEL)(workbench)
app.command(rich_help_panel=CHECK_PANEL)(doctor)
app.command(rich_help_panel=CHECK_PANEL)(estimate)
app.command(rich_help_panel=CHECK_PANEL)(rehearse)
app.command(rich_help_panel=KEEP_PANEL)(sync)
app.add_typer(data, name="data", rich_help_panel=KEEP_PANEL)
app.add_typer(artifacts, name="artifacts", rich_help_panel=KEEP_PANEL)
app.add_typer(stack, name="stack", rich_help_panel=KEEP_PANEL)


def _run(
    stages: Sequence[str],
    profile: str,
    sets: list[str] | None,
    refresh: list[str] | None,
    dry_run: bool,
    as_json: bool,
    *,
    pins: Mapping[str, str] | None = None,
    build_missing: bool = False,
) -> None:
    for name in [*stages, *(refresh or ())]:
        if name not in RECIPE:
            raise ConfigError(f"there is no stage {name!r}: choose of {', '.join(RECIPE)}")
    for name in refresh or ():
        if name not in stages:
            raise ConfigError(f"--refresh {name}, but only {', '.join(stages)} would run: name {name} as a stage too")
    settings = settings_from(profile, sets)
    os.environ["THINKREWARD_PROFILE"] = profile  # whose values the flows' forms take as their defaults
    make_prefect_home()
    from flows.cli.running import announce, dry_run_lines, run_recipe

    if dry_run:
        dry_run_lines(settings, stages, refresh or [], as_json=as_json)
        return
    with _interruptible():
        ran = run_recipe(settings, stages, refresh or [], quiet=as_json, pins=pins or {}, build_missing=build_missing)
    announce(settings, ran, as_json=as_json, options=given_options(profile, sets))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends with exit status 130 and prints how to resume.

    A terminal interrupts Prefect's own server too, and Prefect then tries for minutes to report the crash to it. By
    then the stage has ended its child and given its lease back, so a little after that grace this process just leaves.
    """
    from tasks.pipeline.launch import GRACE_S

    def interrupt(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        typer.secho(f"\ninterrupted; everything finished is kept. Resume with:\n  {resuming()}", fg="yellow", err=True)
        timer = threading.Timer(GRACE_S + 2.0, os._exit, (INTERRUPTED,))
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGINT, before)


def resuming() -> str:
    """This command as it takes up what it began: without `--refresh`, which would begin again."""
    kept, arguments = [program()], sys.argv[1:]
    takes_a_stage = arguments[:1] == ["run"]
    while arguments:
        word = arguments.pop(0)
        if word == "--refresh":
            del arguments[: int(takes_a_stage)]
        elif not word.startswith("--refresh="):
            kept.append(word)
    return shlex.join(kept)


def main(arguments: Sequence[str] | None = None) -> Any:
    """Entry point: a named error is one line and its exit status."""
    settle_environment()
    try:
        return app(args=list(arguments) if arguments is not None else None, standalone_mode=True)
    except (ThinkrewardError, SettingsError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(error.exit_code if isinstance(error, ThinkrewardError) else ConfigError.exit_code)


if __name__ == "__main__":
    main()
