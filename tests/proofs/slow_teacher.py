"""A teacher that takes its time: chat completions over a real socket, each answered alike after so many seconds.

    python -m tests.proofs.slow_teacher SECONDS < answer.txt     # prints its port

In a process of its own, since what it costs is not to be taken for what asking costs.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class SlowTeacher:
    """A running one: its address."""

    base_url: str


@contextmanager
def slow_teacher(seconds: float, text: str) -> Iterator[SlowTeacher]:
    """One that answers `text` to everything; it ends with the `with` block."""
    command = [sys.executable, "-m", "tests.proofs.slow_teacher", str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdin is not None and run.stdout is not None
        try:
            run.stdin.write(text)
            run.stdin.close()
            yield SlowTeacher(f"http://127.0.0.1:{int(run.stdout.readline())}/v1")
        finally:
            run.terminate()


async def serve(seconds: float, text: str) -> None:
    """Serve until the process is ended; it ends with its parent too."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = head.partition("content-length:")[2].split("\r\n")[0]
                await reader.readexactly(int(length or 0))
                await asyncio.sleep(seconds)
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    reply = _reply(text)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 16)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110  (nothing tells that it ended)
        await asyncio.sleep(1)


def _reply(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    body = {
        "id": "chatcmpl-slow",
        "object": "chat.completion",
        "created": 0,
        "model": "slow",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
    }
    data = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), sys.stdin.read()))
