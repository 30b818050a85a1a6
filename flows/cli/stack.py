"""`thinkreward stack`: S3, MLflow, Prefect and workers on this machine, in one command."""

import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import out, print_json, screen
from flows.cli.options import STATE_FOLDER, Json, program
from models.errors import ConfigError
from tasks.stack.lifecycle import Up, down, probe, up
from tasks.stack.prefect_setup import PREFECT_FILE, Deploying, prepare, wanted_pools
from tasks.stack.state import HOST, StackError, StackFolder, exported, shell_lines
from tasks.stack.supervision import follow, tail

DEFAULT_STATE = STATE_FOLDER / "stack"
SERVICES = ("s3", "mlflow", "prefect", "worker-cpu", "worker-gpu")

stack = typer.Typer(
    no_args_is_help=True,
    help="S3, MLflow, Prefect and two workers on this machine: up, down, status, logs, env, setup.",
)
State = Annotated[
    Path, typer.Option("--state", envvar="THINKREWARD_STACK", metavar="DIR", help="folder of the stack's state")
]
PrefectFile = Annotated[Path, typer.Option("--prefect-file", metavar="FILE", help="what is deployed")]


@stack.command("up")
def start(state: State = DEFAULT_STATE, prefect_file: PrefectFile = PREFECT_FILE) -> None:
    """Start what is not running, set Prefect up and deploy the flows; ready within a minute."""
    done = up(StackFolder.at(state), os.environ, prefect_file, lambda line: screen.print(line, markup=False))
    _announce(done, state)


def _announce(done: Up, state: Path) -> None:
    what = f"started {', '.join(done.started)}" if done.started else "everything was running"
    out.print(f"\nready after {done.seconds:.0f} s: {what}", markup=False)
    port = done.ports
    out.print(f"Prefect  http://{HOST}:{port['prefect']}    flows, schedules and forms to start them")
    out.print(f"MLflow   http://{HOST}:{port['mlflow']}    runs, curves and the model registry")
    out.print(f"S3       http://{HOST}:{port['s3']}    the artifact store, bucket thinkreward")
    here = program()
    prefect, given = here.removesuffix("thinkreward") + "prefect", _given(state)
    out.print(
        f'next\n  eval "$({here} stack env{given})"\n'
        f"  {prefect} deployment run nightly/default --watch    # the whole recipe, on the workers\n"
        f"  {here} stack status{given}\n  {here} stack down{given}",
        markup=False,
    )


@stack.command("down")
def end(
    state: State = DEFAULT_STATE,
    wipe: Annotated[bool, typer.Option("--wipe", help="remove all data too: artifacts, runs, models, logs")] = False,
) -> None:
    """End all of it, flow runs included; the data stays."""
    folder = _existing(state)
    down(folder, os.environ, lambda line: screen.print(line, markup=False), wipe=wipe)


@stack.command("status")
def show_status(state: State = DEFAULT_STATE, as_json: Json = False) -> None:
    """What runs and where; exit status 1 if something does not."""
    folder = _existing(state)
    rows = probe(folder, os.environ)
    well = all(row.state == "running" for row in rows)
    if as_json:
        print_json({"services": [vars(row) for row in rows], "ok": well, "state": str(folder.path)})
    else:
        # Not a table of rich's, which would cut addresses short on a narrow terminal.
        lines = [("service", "state", "pid", "since", "url")]
        lines += [(row.name, row.state, str(row.pid or "-"), row.since or "-", row.url) for row in rows]
        for name, what, pid, since, url in lines:
            typer.echo(f"{name:<11} {what:<9}  {pid:>7}  {since:<25}  {url}")
    if not well:
        raise typer.Exit(1)


@stack.command()
def logs(
    service: Annotated[str | None, typer.Argument(help=f"of {', '.join(SERVICES)}; all by default")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="lines of each")] = 20,
    following: Annotated[bool, typer.Option("--follow", "-f", help="go on as lines are written")] = False,
    state: State = DEFAULT_STATE,
) -> None:
    """The last lines of the services' logs."""
    folder = _existing(state)
    if service is not None and service not in (*SERVICES, "deploy"):
        raise ConfigError(f"there is no service {service!r}: choose of {', '.join(SERVICES)}")
    paths = [folder.log_file(name) for name in ([service] if service else SERVICES)]
    for path in paths:
        for line in tail(path, lines):
            _log_line(path, line, named=service is None)
    if following:
        for path, line in follow(paths):
            _log_line(path, line, named=service is None)


def _log_line(path: Path, line: str, *, named: bool) -> None:
    typer.echo(f"{path.stem:<10} | {line}" if named else line)


@stack.command()
def env(state: State = DEFAULT_STATE) -> None:
    """Lines for a shell that let `thinkreward`, `prefect` and `mlflow` use the stack; the S3 key is among them."""
    folder = _existing(state)
    sys.stdout.write(shell_lines(exported(folder, folder.record().ports), os.environ))
    if sys.stdout.isatty():
        screen.print(f'[dim]# for this shell: eval "$({program()} stack env{_given(state)})"[/]')


@stack.command()
def setup(
    prefect_file: PrefectFile = PREFECT_FILE,
    gpu_pool_template: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="base job template that makes the pool gpu a Kubernetes one"),
    ] = None,
    cpu_limit: Annotated[int | None, typer.Option(min=1, help="runs at a time on the pool cpu; at first 4")] = None,
    gpu_limit: Annotated[int | None, typer.Option(min=1, help="runs at a time on the pool gpu; 1 at first")] = None,
) -> None:
    """Make pools, limits, secret blocks, the automation and the deployments on the Prefect that PREFECT_API_URL names.

    Starts no process, and may be done again. Secret blocks are made of OPENAI_API_KEY, AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY where these are set.
    """
    api = os.environ.get("PREFECT_API_URL")
    if not api:
        raise ConfigError(
            "PREFECT_API_URL is not set: set it to the server's address, such as http://prefect:4200/api, or start a "
            "stack on this machine with `thinkreward stack up`"
        )
    pools = wanted_pools(cpu_limit=cpu_limit, gpu_limit=gpu_limit, gpu_template=gpu_pool_template)
    prepare(api, pools, os.environ, lambda line: out.print(line, markup=False))
    log = Path(tempfile.mkstemp(prefix="thinkreward-deploy-", suffix=".log")[1])
    out.print(Deploying(api, prefect_file, os.environ, log).finish(), markup=False)
    log.unlink()


def _existing(state: Path) -> StackFolder:
    folder = StackFolder.at(state)
    if not folder.exists():
        raise StackError(f"there is no stack in {folder.path}: `{program()} stack up{_given(state)}` makes one")
    return folder


def _given(state: Path) -> str:
    """The option that a next command needs to mean the same stack, after a blank."""
    if os.environ.get("THINKREWARD_STACK") or state == DEFAULT_STATE:
        return ""
    return f" --state {shlex.quote(str(state))}"
