"""`thinkreward data`: published preference sets and benchmarks, imported, checked, counted and looked at."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from configs.schema import Settings
from flows.cli.console import out, plain_table, print_json, screen
from flows.cli.options import DEFAULT_PROFILE, Json, Profile, Sets, settings_from

data = typer.Typer(no_args_is_help=True, help="Published data sets: import, validate, stats, preview.")
Source = Annotated[str, typer.Argument(help="a reader or a benchmark (docs/data.md), such as hpdv3 or own")]
Place = Annotated[str, typer.Option("--path", help="a folder, s3://bucket/prefix or hf://datasets/OWNER/NAME")]
SHOWN_ROWS = 5  # a reason


@data.command("import")
def import_set(
    source: Source, path: Place, profile: Profile = DEFAULT_PROFILE, sets: Sets = None, as_json: Json = False
) -> None:
    """Read a set into the store: pairs in our schema, media checked. What is there is not read again."""
    settings = settings_from(profile, sets)
    digest, _, counted = _imported(settings, source, path, quiet=as_json)
    if as_json:
        print_json({"pairs": digest, **counted})
        return
    out.print(f"{counted['usable']} of {counted['rows']} rows are valid; pairs {digest[:12]}")
    for reason, count in counted["quarantined"]["by_reason"].items():
        out.print(f"  {count} invalid: {reason}", markup=False)
    out.print(f"next\n  thinkreward data preview {source} --path {path}", markup=False)


@data.command()
def validate(
    source: Source, path: Place, profile: Profile = DEFAULT_PROFILE, sets: Sets = None, as_json: Json = False
) -> None:
    """Name every row that cannot be used, and why; exit status 1 if they are more than prepare.max_bad_share."""
    from tasks.data.commands import invalid_rows

    settings = settings_from(profile, sets)
    _, folder, counted = _imported(settings, source, path, quiet=as_json, to_look_at=True)
    rows, most = invalid_rows(folder), settings.prepare.max_bad_share
    ok = len(rows) <= most * counted["rows"]
    if as_json:
        print_json({**counted, "unusable": rows, "ok": ok})
    else:
        for line in grouped_by_reason(rows):
            out.print(line, markup=False)
        out.print(f"{counted['usable']} of {counted['rows']} rows are valid")
    if not ok:
        screen.print(f"[red]error:[/] more than prepare.max_bad_share {most:g} cannot be used")
        raise typer.Exit(1)


def grouped_by_reason(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines about invalid rows: each reason with its count, the commonest first, and under it the first few rows."""
    by_reason: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_reason.setdefault(row["reason"], []).append(row)
    lines: list[str] = []
    for reason, some in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        lines.append(f"{len(some)} x {reason}")
        lines += [_row_line(row) for row in some[:SHOWN_ROWS]]
        lines += [f"  and {len(some) - SHOWN_ROWS} more: --json names all"] if len(some) > SHOWN_ROWS else []
    return lines


def _row_line(row: Mapping[str, Any]) -> str:
    """Where an invalid row is, the medium at fault, and the figure of it that is beyond a limit."""
    measured = f" ({row['measured']})" if row.get("measured") else ""
    return f"  {row['where']} {row['uri']}{measured}".rstrip()


@data.command()
def stats(
    source: Source, path: Place, profile: Profile = DEFAULT_PROFILE, sets: Sets = None, as_json: Json = False
) -> None:
    """Count rows, tasks, groups, labels, and what is invalid by reason."""
    _, _, counted = _imported(settings_from(profile, sets), source, path, quiet=as_json, to_look_at=True)
    if as_json:
        print_json(counted)
        return
    rows = [["rows", "", str(counted["rows"])], ["valid", "", str(counted["usable"])]]
    for what in ("tasks", "groups", "labels"):
        rows += [[what, name or "none", str(count)] for name, count in counted[what].items()]
    rows += [["invalid", reason, str(count)] for reason, count in counted["quarantined"]["by_reason"].items()]
    out.print(plain_table([["what", "which", "count"], *([escape(cell) for cell in row] for row in rows)]))


@data.command()
def preview(
    source: Source,
    path: Place,
    to: Annotated[Path, typer.Option("--out", help="the HTML file to write")] = Path("preview.html"),
    pairs: Annotated[int, typer.Option(min=1, max=500, help="how many pairs to show")] = 24,
    profile: Profile = DEFAULT_PROFILE,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Write a contact sheet: prompts, candidates and labels of some pairs, drawn by the seed."""
    from tasks.data.commands import preview as page

    settings = settings_from(profile, sets)
    _, folder, counted = _imported(settings, source, path, quiet=as_json, to_look_at=True)
    html = page(folder, title=f"{source}: {path}", pairs=pairs, frames=settings.model.max_frames, seed=settings.seed)
    to.write_text(html, encoding="utf-8")
    if as_json:
        print_json({"preview": str(to), **counted})
    else:
        out.print(f"{to}: {min(pairs, counted['usable'])} of {counted['usable']} pairs", markup=False)


def _imported(
    settings: Settings, source: str, path: str, *, quiet: bool, to_look_at: bool = False
) -> tuple[str, Path, dict[str, Any]]:
    """The set's digest, a folder with it and its statistics; `to_look_at` it however many rows are invalid."""
    from tasks.data.commands import import_data, place_of
    from tasks.data.importing import lenient

    settings = lenient(settings) if to_look_at else settings
    place = place_of(source, path)
    with _rows_bar(source, quiet=quiet) as on_rows:
        ref, folder, counted = import_data(settings, place, on_rows)
    return ref.digest, folder, counted


@contextmanager
def _rows_bar(what: str, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """How many rows have been read; how many there are is known at the end alone."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, transient=True, disable=quiet) as progress:
        bar = progress.add_task(f"{what}: listing files", total=None, rate="")

        def on_rows(rows: int) -> None:
            seconds = progress.tasks[0].elapsed or 0.0
            rate = f"{rows / seconds:,.0f} a second" if seconds else ""
            progress.update(bar, description=f"{what}: {rows:,} rows", completed=rows, rate=rate)

        yield on_rows
