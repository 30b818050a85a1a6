"""What the service answers to a request that fails: a status, and a message in the form of OpenAI's errors."""

from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from configs.schema import Settings
from models.errors import Cancelled, DataError, ThinkrewardError
from models.generation.batching import QueueFull
from tasks.serving.limits import BodyLimit, Busy, ClientDisconnected, TooLate
from tasks.serving.wire import ErrorResponse, Problem

CLIENT_CLOSED = 499  # nginx's status for it: no answer reaches the client
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


def guard(app: FastAPI, settings: Settings) -> None:
    """Refuse bodies that are too large, and word errors in the form of OpenAI's errors."""
    app.add_exception_handler(ThinkrewardError, _failed)
    app.add_exception_handler(ClientDisconnected, _disconnected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    refuse = partial(_answer, 413, kind="invalid_request_error")
    app.add_middleware(BodyLimit, most=int(settings.serve.max_body_mib * 2**20), refuse=refuse)


def _answer(status: int, message: str, kind: str, param: str | None = None, **headers: str) -> JSONResponse:
    problem = ErrorResponse(error=Problem(message=message, type=kind, param=param))
    return JSONResponse(
        problem.model_dump(), status, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


async def _failed(request: Request, error: Exception) -> JSONResponse:
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    answer = _answer(status, str(error), type(error).__name__)
    if status == 429:
        answer.headers["Retry-After"] = str(error.retry_after_s if isinstance(error, Busy) else 1)
    return answer


async def _disconnected(request: Request, error: Exception) -> JSONResponse:
    return _answer(CLIENT_CLOSED, "the client disconnected", "ClientDisconnected")


async def _invalid(request: Request, error: Exception) -> JSONResponse:
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
