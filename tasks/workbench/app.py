"""The workbench: pages in a browser over the models, the store and the registry.

Judge asks any model about candidates of one's own, Compare two models about the same pairs, and votes go to
the nightly's inbox; Runs and Traces show what the pipeline did. `thinkreward workbench` runs it on uvicorn. Pages are
rendered here and hold no script of their own; the one script only sends forms and puts what comes back into the page.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from configs.schema import Settings
from tasks.serving.errors import guard
from tasks.workbench import ask_routes, history_routes
from tasks.workbench.bench import Bench

LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]


def make_app(settings: Settings, *, token: str = "", anywhere: bool = False) -> FastAPI:
    """The workbench of these settings. With a `token`, browsers are asked for it as a password.

    Unless it is to be reached from `anywhere`, requests that name another host than this one are refused, so that no
    page of another site can reach it under a name of its own.
    """
    bench = Bench(settings, token)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(bench.model_cache.close)

    app = FastAPI(title="Thinkreward workbench", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.bench = bench
    app.include_router(ask_routes.router)
    app.include_router(history_routes.router)
    guard(app, settings)
    for kind, handler in list(app.exception_handlers.items()):
        app.add_exception_handler(kind, partial(_as_page, bench, handler))
    if not anywhere:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK)
    return app


async def _as_page(bench: Bench, handler: Any, request: Request, error: Exception) -> Response:
    """What is wrong: to a browser that asked for a page as a page, to a script as it is."""
    answer: Response = await handler(request, error)
    if "text/html" not in request.headers.get("accept", ""):
        return answer
    words = json.loads(bytes(answer.body))["error"]["message"]
    page = bench.page("problem", request.url.path, answer.status_code, words=words)
    page.headers.update({name: text for name, text in answer.headers.items() if name == "www-authenticate"})
    return page
