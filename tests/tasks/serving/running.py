"""The service on a free port of 127.0.0.1, in this process, over the tiny base model."""

import base64
import io
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from PIL import Image

from configs.load import load_settings
from configs.schema import Settings
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from tasks.pipeline.pinning import MODEL_TAG
from tasks.pipeline.run import open_store
from tasks.serving.app import make_app
from tasks.serving.service import Service
from tasks.tracking.registry import DIGEST_TAG, register, set_alias
from tests.tasks.seaweed import free_ports
from tests.tasks.small_recipe import REPOSITORY

BASE = REPOSITORY / "models" / "shapes" / "base"
STARTING_S = 60.0


class Running:
    """A running service: its address, its server and what its routes share."""

    def __init__(self, server: uvicorn.Server, service: Service, url: str) -> None:
        self.server = server
        self.service = service
        self.url = url

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=body, timeout=60, **options)


def settings(*sets: str) -> Settings:
    return load_settings("shapes", ["evaluate.max_tokens=32", *sets])


@contextmanager
def serving(chosen: Settings, model: str = "base", token: str = "") -> Iterator[Running]:
    app = make_app(model, chosen, token=token)
    with listening(app) as (server, url):
        yield Running(server, app.state.service, url)


@contextmanager
def listening(app: FastAPI) -> Iterator[tuple[uvicorn.Server, str]]:
    """An application on a free port of 127.0.0.1, in this process."""
    (port,) = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=30))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + STARTING_S
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield server, f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def asked(task: Task = Task.IMAGE_GENERATION, number: int = 0, **changes: Any) -> dict[str, Any]:
    """A request about a held-out pair of the embedded world, in direct mode."""
    made = make_pair(task, number, seed=4, held_out=True)
    data = [made.blobs[medium.uri] for medium in made.pair.media()]
    row: dict[str, Any] = {"task": str(task), "prompt": made.pair.prompt, "mode": "direct"}
    if task.judges_media:
        row |= {"candidate_1": encoded(data[0]), "candidate_2": encoded(data[1])}
    else:
        row |= {f"candidate_{at}": candidate.text for at, candidate in enumerate(made.pair.candidates, 1)}
        row["media"] = encoded(data[0])
    return row | changes


def png(width: int, height: int, mode: str = "RGB") -> str:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, format="PNG")
    return encoded(buffer.getvalue())


def promote(chosen: Settings, folder: Path, number: int) -> str:
    """Make the base model, with a file more, the champion; gives its digest."""
    model = folder / f"model-{number}"
    shutil.copytree(BASE, model)
    (model / "number.txt").write_text(str(number))
    store, tracking = open_store(chosen), chosen.tracking
    ref = store.publish("model", model)
    tags = {DIGEST_TAG: str(number) * 64, MODEL_TAG: ref.digest}
    made = register(tracking.uri, tracking.registered_model, source_uri=store.uri(ref), run_id="", tags=tags)
    set_alias(tracking.uri, tracking.registered_model, "champion", made.version)
    return ref.digest
