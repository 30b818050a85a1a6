"""A proxy in front of an S3 server that spoils a share of the requests, and counts what it did.

    with FaultProxy(server.url, share=0.1, seed=0) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        ...
        proxy.counts()      # {'requests': 412, 'passed': 371, 'drop before': 9, 'drop after': 6, ...}

    python -m tests.tasks.fault_proxy --to http://127.0.0.1:8333 --port 8444 --share 0.1 --seed 0

The Host header is forwarded as it came: signature V4 covers it, and the server checks it against what it sees.
"""

import argparse
import http.client
import json
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

FAULTS = ("drop before", "drop after", "delay", "truncate", "500", "503")
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "transfer-encoding"}
_BODIES = {"500": ("InternalError", "We encountered an internal error."), "503": ("SlowDown", "Reduce your rate.")}


class FaultProxy:
    """Runs in threads of this process from `with` to its end. `delay_s` is the longest delay, in seconds.

    `faults` are what it does, each as often as the others; the draws follow `seed` and the order of the requests.
    Set `rule` to a function of method and path to say for some requests what is done; None leaves it to the draw.
    Set `refuse` to a function of method and headers (names in lower case) that gives the status, the code and the words
    with which a server lacking something answers; None lets the request pass.
    """

    def __init__(
        self,
        to: str,
        *,
        share: float = 0.1,
        seed: int = 0,
        port: int = 0,
        delay_s: float = 0.3,
        faults: tuple[str, ...] = FAULTS,
    ) -> None:
        unknown = set(faults) - set(FAULTS)
        if unknown or not 0 <= share <= 1:
            raise ValueError(f"share {share}, faults {sorted(unknown)}: the share is from 0 to 1, faults are {FAULTS}")
        self.share = share
        self.delay_s = delay_s
        self.faults = faults
        self.rule: Callable[[str, str], str | None] = lambda method, path: None
        self.refuse: Callable[[str, dict[str, str]], tuple[int, str, str] | None] = lambda method, headers: None
        target = urlsplit(to)
        self.target = (target.hostname or "127.0.0.1", target.port or 80)
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="fault-proxy", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def counts(self) -> dict[str, int]:
        """How many requests came, how many were passed on unspoilt, and how often each fault was done."""
        with self._lock:
            return {
                name: self._counts[name] for name in ("requests", "passed", "refused", *FAULTS) if self._counts[name]
            }

    def draw(self, method: str, path: str) -> tuple[str, float]:
        """What to do to the next request ("passed": nothing), and a number from 0 to 1 that says how much of it."""
        with self._lock:
            drawn = self._random.choice(self.faults) if self._random.random() < self.share else "passed"
            return self.rule(method, path) or drawn, self._random.random()

    def note(self, done: str) -> None:
        """Counts what was done to a request."""
        with self._lock:
            self._counts.update(["requests", done])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # connections that clients keep open do not hold up the end
    request_queue_size = 128
    proxy: FaultProxy

    def shutdown_request(self, request: Any) -> None:
        """Closed without a farewell, which would come before a reset."""
        self.close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, with a connection of its own to the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(*self.server.proxy.target, timeout=120)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: what happened is counted."""

    def _serve(self) -> None:
        proxy = self.server.proxy
        fault, much = proxy.draw(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        refused = proxy.refuse(self.command, {name.lower(): value for name, value in self.headers.items()})
        if refused is not None:
            proxy.note("refused")
            self._refuse(*refused)
            return
        if fault == "drop before":
            proxy.note(fault)
            self._drop(reset=much < 0.5)
            return
        if fault in _BODIES:
            proxy.note(fault)
            self._refuse(int(fault), *_BODIES[fault])
            return
        if fault == "delay":
            time.sleep(much * proxy.delay_s)
        answer, content = self._forward(body)
        if fault == "truncate" and (self.command == "HEAD" or not content):
            fault = "drop after"  # there is nothing to cut off
        proxy.note(fault)
        if fault == "drop after":
            self._drop(reset=much < 0.5)
            return
        self._answer(answer, content, int(len(content) * much) if fault == "truncate" else None)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - as http.server looks them up

    def _forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        for again in (True, False):
            try:
                self._upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    # We have read the whole body: there is nothing left that the server could refuse beforehand.
                    if name.lower() not in _HOP_BY_HOP | {"expect"}:
                        self._upstream.putheader(name, value)
                self._upstream.endheaders(body)
                answer = self._upstream.getresponse()
                return answer, answer.read()
            except (http.client.HTTPException, ConnectionError):
                self._upstream.close()  # an idle connection that the server has closed
                if not again:
                    raise
        raise AssertionError("unreachable")

    def _answer(self, answer: http.client.HTTPResponse, content: bytes, cut_at: int | None) -> None:
        self.send_response_only(answer.status, answer.reason)
        length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content[:cut_at])
        if cut_at is not None:
            self._drop(reset=False)

    def _refuse(self, status: int, code: str, message: str) -> None:
        content = (
            f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        )
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content.encode())

    def _drop(self, *, reset: bool) -> None:
        """Ends the connection, with a reset that loses what was on its way, or as a server does that shuts down."""
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def main() -> None:
    """Runs a proxy until SIGINT or SIGTERM, and then writes what it did as one JSON object."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--to", required=True, help="the server's URL")
    options.add_argument("--port", type=int, default=0, help="0: any free one")
    options.add_argument("--share", type=float, default=0.1, help="of requests that are spoilt, 0 to 1")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with FaultProxy(given.to, share=given.share, seed=given.seed, port=given.port) as proxy:
        sys.stdout.write(f"{proxy.url}\n")
        sys.stdout.flush()
        over.wait()
        sys.stdout.write(json.dumps(proxy.counts()) + "\n")


if __name__ == "__main__":
    main()
