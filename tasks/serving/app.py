"""The judge as an HTTP service: comparisons, rankings, and OpenAI's chat completions, by one model for many callers.

`thinkreward serve` runs it on uvicorn. Requests are read and decoded in threads; what they ask is generated in batches
(models/generation/batching.py). Too many of them get 429 with Retry-After, too large ones 413, what cannot be used 422,
and none of these ends the service.
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from configs.schema import Settings
from tasks.serving.errors import guard
from tasks.serving.metrics import MetricsMiddleware
from tasks.serving.routes import guarded, open_to_all
from tasks.serving.service import Service


def make_app(name: str, settings: Settings, *, token: str = "") -> FastAPI:
    """The service over the model of this name, which is loaded now. With a `token` the routes under /v1 ask for it.

    Raises `ConfigError` for a model that is not there.
    """
    service = Service(name, settings, token)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=service.manager.follow, daemon=True, name="follow").start()
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
    app.add_middleware(MetricsMiddleware, metrics=service.metrics)
    return app
