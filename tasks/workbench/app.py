"""The workbench: pages in a browser over the models, the store and the registry.

Judge asks any model about candidates of one's own, Compare two models about the same pairs, and what people say goes to
the nightly's inbox; Runs and Traces show what the pipeline did. `thinkreward workbench` runs it on uvicorn. Pages are
rendered here and hold no script of their own; the one script only sends forms and puts what comes back into the page.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from configs.schema import Settings
from models.errors import ConfigError, DataError, StoreError, StoreUnreachable
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.report.cards import card
from models.evaluation.report.data import Example
from models.evaluation.report.environment import page_environment
from models.judging.request_rows import RequestMedia, read_pairs
from models.pairs.preference import Task
from models.sources.shapes import foreign
from tasks.pipeline.run import open_store
from tasks.serving.app import guard, lets_in
from tasks.tracking.address import absolute_uri, without_credentials
from tasks.workbench import runs, traces
from tasks.workbench.comparing import RANKS, compare, swapped_answer
from tasks.workbench.feed import HEADERS, Tell, events
from tasks.workbench.model_cache import ModelCache
from tasks.workbench.pairs import example, newest_preferences, open_dataset, training_pairs
from tasks.workbench.votes import save_vote
from tasks.workbench.wire import JudgeRequest, PairsRequest, PairVote, VoteRequest

FOLDER = Path(__file__).parent / "templates"
PAGES = (("/", "Judge"), ("/compare", "Compare"), ("/traces", "Traces"), ("/runs", "Runs"))
TASK_WORDS = {
    Task.IMAGE_GENERATION: "Two images for a caption",
    Task.VIDEO_GENERATION: "Two videos for a caption",
    Task.IMAGE_UNDERSTANDING: "Two answers about an image",
    Task.VIDEO_UNDERSTANDING: "Two answers about a video",
}
# A page may load its own script and style alone, and be framed by nobody.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]
Given = Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))]  # user and password


class Bench:
    """What the routes share."""

    def __init__(self, settings: Settings, token: str) -> None:
        self.settings = settings
        self.token = token
        self.store = open_store(settings)
        self.model_cache = ModelCache(settings, self.store)
        self._pages = page_environment(FOLDER)
        self._pages.globals.update(pages=PAGES, task_words=TASK_WORDS, ranks=RANKS, swapped_answer=swapped_answer)

    def render(self, template: str, **what: Any) -> str:
        """A page, or a piece of one."""
        return self._pages.get_template(template).render(**what)

    def page(self, template: str, path: str, status: int = 200, **what: Any) -> HTMLResponse:
        """A whole page, under the policy."""
        title = dict(PAGES).get(path, "Sorry")
        html = self.render(f"{template}.html.j2", path=path, title=title, profile=self.settings.profile, **what)
        return HTMLResponse(html, status, {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"})


def make_app(settings: Settings, *, token: str = "", anywhere: bool = False) -> FastAPI:
    """The workbench of these settings. With a `token`, browsers are asked for it as a password.

    Unless it is to be reached from `anywhere`, requests that name another host than this one are refused, so that no
    page from elsewhere can reach it under a name of its own.
    """
    bench = Bench(settings, token)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(bench.model_cache.close)

    app = FastAPI(title="Thinkreward workbench", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.bench = bench
    app.include_router(router)
    guard(app, settings)
    for kind, told in list(app.exception_handlers.items()):
        app.add_exception_handler(kind, partial(_as_page, bench, told))
    if not anywhere:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK)
    return app


async def _as_page(bench: Bench, told: Any, request: Request, error: Exception) -> Response:
    """What is wrong: to a browser that asked for a page as a page, to a script as it is."""
    answer: Response = await told(request, error)
    if "text/html" not in request.headers.get("accept", ""):
        return answer
    words = json.loads(bytes(answer.body))["error"]["message"]
    page = bench.page("problem", request.url.path, answer.status_code, words=words)
    page.headers.update({name: text for name, text in answer.headers.items() if name == "www-authenticate"})
    return page


def bench_of(request: Request) -> Bench:
    """What the routes of a request's workbench share."""
    bench: Bench = request.app.state.bench
    return bench


def check_password(request: Request, given: Given) -> None:
    """Raises 401 without the token as the password, whatever the user's name, if there is a token."""
    if not lets_in(bench_of(request).token, given.password if given else None):
        raise HTTPException(401, "give the token as the password", headers={"WWW-Authenticate": "Basic"})


router = APIRouter(dependencies=[Depends(check_password)])
BenchmarkResult = Annotated[Bench, Depends(bench_of)]


@router.get("/")
def judge_page(bench: BenchmarkResult) -> HTMLResponse:
    """Candidates of one's own, asked of any model."""
    return bench.page("judge", "/", choices=bench.model_cache.choices())


@router.get("/example")
def example_pair(
    bench: BenchmarkResult, task: Task, number: Annotated[int, Query(ge=0, lt=2**31)] = 0
) -> dict[str, Any]:
    """A pair to try with."""
    return example(bench.settings, bench.store, task, number)


@router.post("/judge")
async def judge(body: JudgeRequest, bench: BenchmarkResult) -> StreamingResponse:
    """The texts of both orders as they are written (`text`), and then the verdict as a piece of page (`done`)."""

    def work(tell: Tell, given_up: threading.Event) -> str:
        choice = bench.model_cache.choice(body.model)
        tell("note", f"{choice.name} is loaded …")
        with bench.model_cache.acquire(choice) as served:
            model = served.reward_model(given_up)
            media = model.media()
            pairs = read_pairs([body.row()], media)
            tell("note", f"{choice.name} reads …")
            (outcome,) = model.judge(
                pairs, media.frames, [body.mode], on_text=lambda place, _, piece: tell("text", [place, piece])
            )
        row = JudgedRow.read(pairs[0], body.mode, False, outcome.text, outcome.given.truncated)
        shown = card(Example(row, pairs[0]))
        return bench.render(
            "outcome.html.j2", outcome=outcome, card=shown, row=row, model=body.model, digest=served.digest
        )

    return StreamingResponse(events(work), media_type="text/event-stream", headers=HEADERS)


@router.post("/vote")
def vote(body: VoteRequest, bench: BenchmarkResult, by: Given) -> dict[str, str]:
    """Put a preference about candidates of one's own into the inbox."""
    limits = bench.settings.model
    media = RequestMedia(
        max_pixels=limits.max_pixels, max_frames=limits.max_frames, files=False, decoding=bench.model_cache.decoders
    )
    (pair,) = read_pairs([body.row()], media)
    if bench.settings.prepare.source == "shapes" and (why := foreign(pair)):
        raise DataError(f"this is not saved, since the nightly would leave it out; {why}")
    return {"saved": save_vote(bench.store, pair, media.blob, body.preferred, voter=by.username if by else "")}


@router.get("/compare")
def compare_page(bench: BenchmarkResult) -> HTMLResponse:
    """Two models on the same pairs."""
    choices = bench.model_cache.choices()
    left = choices[0] if choices else None
    others = sorted(choices, key=lambda one: one.name == "base")  # which does not think in the grammar
    right = next((one for one in others if left and one.digest != left.digest), None)
    return bench.page("compare", "/compare", choices=choices, left=left, right=right)


@router.post("/compare")
async def compare_models(body: PairsRequest, bench: BenchmarkResult) -> StreamingResponse:
    """How far it is (`note`), and then the pairs as a piece of page (`done`)."""

    def work(tell: Tell, given_up: threading.Event) -> str:
        choices = bench.model_cache.choice(body.left), bench.model_cache.choice(body.right)
        if choices[0].digest == choices[1].digest:
            raise ConfigError(f"{body.left} and {body.right} are the same model: choose two that differ")
        compared = compare(
            bench.settings,
            bench.store,
            bench.model_cache,
            choices,
            task=body.task,
            mode=body.mode,
            count=body.count,
            page=body.page,
            tell=tell,
            given_up=given_up,
        )
        return bench.render("compared.html.j2", compared=compared, names=(body.left, body.right), mode=body.mode)

    return StreamingResponse(events(work), media_type="text/event-stream", headers=HEADERS)


@router.post("/compare/vote")
def vote_on_pair(body: PairVote, bench: BenchmarkResult, by: Given) -> dict[str, str]:
    """Put a preference about a training pair into the inbox."""
    dataset = open_dataset(bench.settings, bench.store, newest_preferences(bench.store))
    pair = training_pairs(dataset).get(body.pair)
    if pair is None:
        raise HTTPException(404, f"there is no training pair {body.pair!r} in the newest preferences")
    return {"saved": save_vote(bench.store, pair, dataset.blob, body.preferred, voter=by.username if by else "")}


@router.get("/traces")
def traces_page(
    bench: BenchmarkResult,
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
def runs_page(bench: BenchmarkResult) -> HTMLResponse:
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
def report(digest: str, bench: BenchmarkResult) -> HTMLResponse:
    """A run's report, which brings its own policy."""
    try:
        folder = bench.store.fetch(bench.store.resolve(f"report/{digest}"))
    except StoreUnreachable:
        raise
    except StoreError as error:
        raise HTTPException(404, str(error)) from error
    return HTMLResponse((folder / "report.html").read_text())


@router.get("/static/workbench.css")
def style(bench: BenchmarkResult) -> Response:
    """The reports' look, and what the pages add to it."""
    return Response(bench.render("workbench.css.j2"), media_type="text/css")


@router.get("/static/workbench.js")
def script() -> Response:
    """The pages' one script."""
    return Response((FOLDER / "workbench.js").read_text(), media_type="text/javascript")
