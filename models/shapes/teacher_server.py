"""The embedded teacher: a real HTTP server on 127.0.0.1 that speaks OpenAI's chat completions and Batch API."""

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from models.shapes.teacher_answers import Json
from models.shapes.teacher_api import TeacherApi, error_body

MAX_BODY_BYTES = 512 * 2**20


class TeacherServer(TeacherApi):
    """A running teacher: a context manager that gives `base_url` and `api_key`."""

    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"embedded": self}))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True, name="teacher").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def base_url(self) -> str:
        """Where the API is, up to and including `/v1`. Raises `RuntimeError` before the teacher is entered."""
        if self._server is None:
            raise RuntimeError("the embedded teacher is not running: use it as a context manager")
        return f"http://127.0.0.1:{self._server.server_port}/v1"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class _Handler(BaseHTTPRequestHandler):
    """Routes of the API; `embedded` is the teacher it answers for."""

    embedded: TeacherServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one piece

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the client logs what matters."""

    def do_GET(self) -> None:
        self._handle(self._get)

    def do_POST(self) -> None:
        self._handle(self._post)

    def _handle(self, answer: Any) -> None:
        data = self._body()
        if data is None:
            self._send(413, error_body("the body is too large", "invalid_request_error"), {})
        elif not secrets.compare_digest(self.headers.get("Authorization", ""), f"Bearer {self.embedded.api_key}"):
            self.embedded.count("refused")
            self._send(401, error_body("incorrect API key", "invalid_api_key"), {})
        else:
            answer(data)

    def _body(self) -> bytes | None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            return None
        return self.rfile.read(length)

    def _get(self, _: bytes) -> None:
        path, teacher = urlsplit(self.path).path, self.embedded
        if path == "/v1/models":
            models = [{"id": teacher.model, "object": "model", "created": 0, "owned_by": "thinkreward"}]
            self._send(200, {"object": "list", "data": models}, {})
        elif path == "/v1/batches":
            self._send(*teacher.list_batches(), {})
        elif path.startswith("/v1/batches/"):
            self._send(*teacher.poll_batch(path.removeprefix("/v1/batches/")), {})
        elif path.startswith("/v1/files/") and path.endswith("/content"):
            data = teacher.files.get(path.removeprefix("/v1/files/").removesuffix("/content"))
            if data is None:
                self._send(404, error_body("no such file", "not_found"), {})
            else:
                self._send(200, data, {})
        else:
            self._send(404, error_body(f"no route {path}", "not_found"), {})

    def _post(self, data: bytes) -> None:
        path, teacher = urlsplit(self.path).path, self.embedded
        if path == "/v1/files":
            content = _uploaded(data, self.headers.get("Content-Type", ""))
            name = teacher.add_file(content)
            self._send(
                200,
                {
                    "id": name,
                    "object": "file",
                    "bytes": len(content),
                    "created_at": 0,
                    "filename": "requests.jsonl",
                    "purpose": "batch",
                    "status": "processed",
                },
                {},
            )
            return
        try:
            body = json.loads(data)
        except ValueError:
            self._send(400, error_body("the body is no JSON", "invalid_request_error"), {})
            return
        if path == "/v1/chat/completions":
            self._send(*teacher.complete(body))
        elif path == "/v1/batches":
            self._send(*teacher.create_batch(body), {})
        else:
            self._send(404, error_body(f"no route {path}", "not_found"), {})

    def _send(self, status: int, body: Json | bytes, headers: dict[str, str]) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()


def _uploaded(data: bytes, content_type: str) -> bytes:
    """The bytes of the part called `file` in a multipart form."""
    boundary = b"--" + content_type.partition("boundary=")[2].strip('"').encode()
    for part in data.split(boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    return b""
