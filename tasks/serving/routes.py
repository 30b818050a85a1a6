"""The service's routes: comparisons, rankings, chat completions, and what a load balancer asks."""

import threading
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse
from starlette.exceptions import HTTPException

from tasks.serving import chat
from tasks.serving.errors import PROBLEMS
from tasks.serving.service import check_token, service_of
from tasks.serving.wire import (
    ChatRequest,
    CompareRequest,
    CompareResponse,
    ErrorResponse,
    Ranked,
    RankRequest,
    RankResponse,
)

guarded = APIRouter(prefix="/v1", dependencies=[Depends(check_token)], responses=PROBLEMS)
open_to_all = APIRouter()


@guarded.post("/compare")
async def compare(body: CompareRequest, request: Request) -> CompareResponse:
    """Which of two candidates is better, and why."""

    def work(cancelled: threading.Event) -> CompareResponse:
        with service.manager.acquire() as loaded:
            model = loaded.reward_model(cancelled)
            outcome = model.compare_one(mode=body.mode, both_orders=body.both_orders, **body.row())
            return CompareResponse(**outcome.row(), model=loaded.digest)

    service = service_of(request)
    with service.limiter.slot():
        return await service.limiter.run(work, request.is_disconnected)


@guarded.post("/rank")
async def rank(body: RankRequest, request: Request) -> RankResponse:
    """Several candidates, best first, by as few comparisons as the confidence takes."""

    def work(cancelled: threading.Event) -> RankResponse:
        with service.manager.acquire() as loaded:
            ranking = loaded.reward_model(cancelled).rank(
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
                model=loaded.digest,
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
    manager = service.manager
    if body.model not in (None, manager.name, manager.digest):
        raise HTTPException(404, f"the model {body.model!r} is not served here: ask for {manager.name!r}")
    if body.stream:
        return EventSourceResponse(await chat.begin_stream(service, body))

    def work(cancelled: threading.Event) -> dict[str, Any]:
        with manager.acquire() as loaded:
            return chat.completion(loaded, body, cancelled)

    with service.limiter.slot():
        return JSONResponse(await service.limiter.run(work, request.is_disconnected))


@guarded.get("/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The one model there is, as OpenAI's API lists models; its id is the name that is followed."""
    manager = service_of(request).manager
    return {"object": "list", "data": [{"id": manager.name, "object": "model", "owned_by": manager.digest}]}


@open_to_all.get("/health")
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@open_to_all.get("/ready", responses={503: {"model": ErrorResponse, "description": "ends"}})
async def ready(request: Request) -> dict[str, str]:
    """Requests are taken: 503 while the service ends. `problem` is why an older model than the alias's answers."""
    service = service_of(request)
    if service.draining:
        raise HTTPException(503, "the service ends")
    problem = {"problem": service.manager.problem} if service.manager.problem else {}
    return {"status": "ready", "model": service.manager.digest, **problem}


@open_to_all.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    service = service_of(request)
    service.metrics.in_flight.set(service.limiter.in_flight)
    service.metrics.waiting.set(service.manager.waiting)
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")
