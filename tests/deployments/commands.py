"""Whether an installed program takes a command line, as its own parser sees it; nothing is run."""

import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import typer

WEED = Path(sys.executable).with_name("weed")


def refused(argv: Sequence[str]) -> str:
    """Why the program does not take these arguments; empty if it does."""
    program, *arguments = argv
    return {"prefect": _prefect, "mlflow": _mlflow, "thinkreward": _thinkreward, "weed": _weed}[program](arguments)


def _prefect(arguments: list[str]) -> str:
    from cyclopts import CycloptsError
    from prefect.cli._app import _app

    try:
        _app.parse_args(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return str(error)
    return ""


def _mlflow(arguments: list[str]) -> str:
    from mlflow.cli import cli

    return _click(cli, arguments)


def _thinkreward(arguments: list[str]) -> str:
    from flows.cli.main import app

    return _click(typer.main.get_command(app), arguments)


def _click(command: Any, arguments: list[str]) -> str:
    # By what they can do rather than by type: typer brings a click of its own.
    rest, context = list(arguments), None
    try:
        while hasattr(command, "resolve_command"):
            context = command.context_class(command, parent=context, info_name=command.name)
            _, command, rest = command.resolve_command(context, rest)
        command.make_context(command.name, rest, parent=context)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return ""


def _weed(arguments: list[str]) -> str:
    names = [argument.lstrip("-").partition("=")[0] for argument in arguments if argument.startswith("-")]
    verb = next(argument for argument in arguments if not argument.startswith("-"))
    unknown = [name for name in names if name not in _weed_flags(verb) | {"logtostderr"}]
    return f"weed {verb} has no {unknown}" if unknown else ""


@cache
def _weed_flags(verb: str) -> frozenset[str]:
    said = subprocess.run([str(WEED), "help", verb], capture_output=True, text=True)
    return frozenset(re.findall(r"^  -([\w.]+)", said.stdout + said.stderr, re.MULTILINE))
