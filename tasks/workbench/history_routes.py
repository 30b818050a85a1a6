"""Pages that show what the pipeline did: Traces, Runs and reports; and the style and script of all pages."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from models.errors import StoreError, StoreUnreachable
from models.pairs.preference import Task
from tasks.tracking.address import absolute_uri, without_credentials
from tasks.workbench import runs, traces
from tasks.workbench.bench import FOLDER, CurrentBench, check_password

router = APIRouter(dependencies=[Depends(check_password)])


@router.get("/traces")
def traces_page(
    bench: CurrentBench,
    source: traces.Source = "teacher",
    task: str = "",
    outcome: str = "",
    reason: str = "",
    words: Annotated[str, Query(max_length=1000)] = "",
    page: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> HTMLResponse:
    """What models wrote while the recipe ran."""
    store, wanted = bench.store, traces.Wanted(task, outcome, reason, words)
    entry = traces.newest(store, source)
    found = traces.read_traces(bench.settings, store, source, entry) if entry else []
    fitting = [trace for trace in found if wanted.fits(trace)]
    some = fitting[page * traces.PER_PAGE : (page + 1) * traces.PER_PAGE]
    shown = traces.illustrated(bench.settings, store, entry, some) if entry else []
    return bench.page(
        "traces",
        "/traces",
        source=source,
        sources={name: label for name, (label, _) in traces.SOURCES.items()},
        wanted=wanted,
        reasons=traces.reasons(found),
        tasks=list(Task),
        entry=entry,
        total=len(found),
        fitting=len(fitting),
        shown=shown,
        at=page,
        last=max(0, (len(fitting) - 1) // traces.PER_PAGE),
    )


@router.get("/runs")
def runs_page(bench: CurrentBench) -> HTMLResponse:
    """The pipeline's stages, the champion's lineage, GRPO's curves."""
    store = bench.store
    report = store.newest("evaluate")
    return bench.page(
        "runs",
        "/runs",
        stages=runs.stage_rows(bench.settings, store),
        tree=runs.champion_tree(bench.settings, store),
        figures=runs.reward_curves(store),
        report=report.outputs["report"].digest if report else "",
        tracking=without_credentials(absolute_uri(bench.settings.tracking.uri)),
    )


@router.get("/report/{digest}")
def report(digest: str, bench: CurrentBench) -> HTMLResponse:
    """A run's report, which brings its own policy."""
    try:
        folder = bench.store.fetch(bench.store.resolve(f"report/{digest}"))
    except StoreUnreachable:
        raise
    except StoreError as error:
        raise HTTPException(404, str(error)) from error
    return HTMLResponse((folder / "report.html").read_text())


@router.get("/static/workbench.css")
def style(bench: CurrentBench) -> Response:
    """The reports' look, and what the pages add to it."""
    return Response(bench.render("workbench.css.j2"), media_type="text/css")


@router.get("/static/workbench.js")
def script() -> Response:
    """The pages' one script."""
    return Response((FOLDER / "workbench.js").read_text(), media_type="text/javascript")
