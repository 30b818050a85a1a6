"""The judge as an HTTP service: comparisons, rankings, and OpenAI's chat completions, by one model for many callers.

`thinkreward serve` runs it on uvicorn. Requests are read and decoded in threads; what they ask is generated in batches
(models/generation/batching.py). Too many of them get 429 with Retry-After, too large ones 413, what cannot be used 422,
and none of these ends the service.
"""

import hmac
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from configs.schema import Settings
from models.errors import Cancelled, DataError, ThinkrewardError
from models.generation.batching import QueueFull
from tasks.serving import chat
from tasks.serving.limits import BodyLimit, Busy, ClientDisconnected, ConcurrencyLimiter, TooLate
from tasks.serving.metrics import Metrics
from tasks.serving.model_manager import ModelManager
from tasks.serving.wire import (
    ChatRequest,
    CompareRequest,
    CompareResponse,
    ErrorResponse,
    Problem,
    Ranked,
    RankRequest,
    RankResponse,
)

HUNG_UP = 499  # nginx's number for it; nobody hears the answer
# The first that fits; what is none of these is a fault of ours.
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (Busy, 429),
    (QueueFull, 429),
    (TooLate, 504),
    (Cancelled, 503),
    (DataError, 422),
    (ThinkrewardError, 503),
)
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": words}
    for status, words in {
        400: "no JSON",
        401: "without the token",
        413: "too large",
        422: "cannot be used",
        429: "too many at once; Retry-After says when to try again",
        503: "ends, or cannot answer now",
        504: "took too long",
    }.items()
}
bearer = HTTPBearer(auto_error=False, description="the service's token, if it has one")


class Service:
    """What the routes share."""

    def __init__(self, name: str, settings: Settings, token: str) -> None:
        self.metrics = Metrics()
        self.holder = ModelManager(name, settings, self.metrics)
        self.limiter = ConcurrencyLimiter(settings.serve.requests, settings.serve.timeout_s)
        self.token = token
        self.draining = False

    def close(self) -> None:
        """End what has begun, and then the model."""
        self.draining = True
        self.limiter.close()
        self.holder.close()


def make_app(name: str, settings: Settings, *, token: str = "") -> FastAPI:
    """The service over the model of this name, which is loaded now. With a `token` the routes under /v1 ask for it.

    Raises `ConfigError` for a model that is not there.
    """
    service = Service(name, settings, token)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=service.holder.follow, daemon=True, name="follow").start()
        yield
        service.close()

    app = FastAPI(
        title="Thinkreward",
        description="A chain-of-thought reward model for images and video: it compares, ranks, and gives its reasons.",
        version="1",
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(guarded)
    app.include_router(open_to_all)
    guard(app, settings)
    app.add_middleware(Measured, metrics=service.metrics)
    return app


def guard(app: FastAPI, settings: Settings) -> None:
    """Refuse bodies that are too large, and say what is wrong in the form of OpenAI's errors."""
    app.add_exception_handler(ThinkrewardError, _told)
    app.add_exception_handler(ClientDisconnected, _nobody)
    app.add_exception_handler(RequestValidationError, _unusable)
    app.add_exception_handler(HTTPException, _refused)
    refuse = partial(_answer, 413, kind="invalid_request_error")
    app.add_middleware(BodyLimit, most=int(settings.serve.max_body_mib * 2**20), refuse=refuse)


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


def lets_in(token: str, given: str | None) -> bool:
    """Whether a caller who gave this may ask: anybody where there is no token."""
    return not token or (given is not None and hmac.compare_digest(given.encode(), token.encode()))


def check_token(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
    """Raises 401 for a request without the token, if there is one."""
    if not lets_in(service_of(request).token, given.credentials if given else None):
        raise HTTPException(
            401, "send the service's token: Authorization: Bearer …", headers={"WWW-Authenticate": "Bearer"}
        )


guarded = APIRouter(prefix="/v1", dependencies=[Depends(check_token)], responses=PROBLEMS)
open_to_all = APIRouter()


@guarded.post("/compare")
async def compare(body: CompareRequest, request: Request) -> CompareResponse:
    """Which of two candidates is better, and why."""

    def work(given_up: threading.Event) -> CompareResponse:
        with service.holder.acquire() as served:
            model = served.reward_model(given_up)
            outcome = model.compare_one(mode=body.mode, both_orders=body.both_orders, **body.row())
            return CompareResponse(**outcome.row(), model=served.digest)

    service = service_of(request)
    with service.limiter.slot():
        return await service.limiter.run(work, request.is_disconnected)


@guarded.post("/rank")
async def rank(body: RankRequest, request: Request) -> RankResponse:
    """Several candidates, best first, by as few comparisons as the confidence takes."""

    def work(given_up: threading.Event) -> RankResponse:
        with service.holder.acquire() as served:
            ranking = served.reward_model(given_up).rank(
                body.prompt,
                body.candidates,
                task=body.task,
                media=body.media,
                mode=body.mode,
                confidence=body.confidence,
                most=body.most,
            )
            ranked = [
                Ranked(
                    candidate=at,
                    strength=ranking.strengths[at].value,
                    low=ranking.strengths[at].low,
                    high=ranking.strengths[at].high,
                    win_rate=ranking.win_rates[at].value,
                )
                for at in ranking.order
            ]
            return RankResponse(
                ranking=ranked,
                comparisons=len(ranking.comparisons),
                confident=ranking.confident,
                model=served.digest,
            )

    service = service_of(request)
    with service.limiter.slot():
        return await service.limiter.run(work, request.is_disconnected)


@guarded.post(
    "/chat/completions",
    response_model=None,
    responses={
        200: {"description": "as OpenAI's API", "content": {"application/json": {}, "text/event-stream": {}}},
        404: {"model": ErrorResponse, "description": "no such model is served"},
    },
)
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """OpenAI's chat completions, with images and videos as data URLs, whole or streamed."""
    service = service_of(request)
    holder = service.holder
    if body.model not in (None, holder.name, holder.digest):
        raise HTTPException(404, f"the model {body.model!r} is not served here: ask for {holder.name!r}")
    if body.stream:
        return StreamingResponse(await chat.begin_stream(service, body), media_type="text/event-stream")

    def work(given_up: threading.Event) -> dict[str, Any]:
        with holder.acquire() as served:
            return chat.completion(served, body, given_up)

    with service.limiter.slot():
        return JSONResponse(await service.limiter.run(work, request.is_disconnected))


@guarded.get("/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The one model there is, as OpenAI's API lists models; its id is the name that is followed."""
    holder = service_of(request).holder
    return {"object": "list", "data": [{"id": holder.name, "object": "model", "owned_by": holder.digest}]}


@open_to_all.get("/health")
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@open_to_all.get("/ready", responses={503: {"model": ErrorResponse, "description": "ends"}})
async def ready(request: Request) -> dict[str, str]:
    """Requests are taken: 503 while the service ends. `problem` tells why an older model than the alias's answers."""
    service = service_of(request)
    if service.draining:
        raise HTTPException(503, "the service ends")
    problem = {"problem": service.holder.problem} if service.holder.problem else {}
    return {"status": "ready", "model": service.holder.digest, **problem}


@open_to_all.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    service = service_of(request)
    service.metrics.in_flight.set(service.limiter.in_flight)
    service.metrics.waiting.set(service.holder.waiting)
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


class Measured:
    """ASGI middleware: counts and times every request by its route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.monotonic() - began)


def _answer(status: int, message: str, kind: str, param: str | None = None, **headers: str) -> JSONResponse:
    problem = ErrorResponse(error=Problem(message=message, type=kind, param=param))
    return JSONResponse(
        problem.model_dump(), status, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


async def _told(request: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    answer = _answer(status, str(error), type(error).__name__)
    if status == 429:
        answer.headers["Retry-After"] = str(error.retry_after_s if isinstance(error, Busy) else 1)
    return answer


async def _nobody(request: Request, error: Exception) -> JSONResponse:
    return _answer(HUNG_UP, "the caller hung up", "Gone")


async def _unusable(request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong with a request; never its value, which may be a whole video."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    status = 400 if first["type"] == "json_invalid" else 422
    message = first["msg"].removeprefix("Value error, ")
    return _answer(status, f"{where}: {message}" if where else message, "invalid_request_error", where or None)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    answer = _answer(error.status_code, str(error.detail), "invalid_request_error")
    answer.headers.update(error.headers or {})
    return answer
