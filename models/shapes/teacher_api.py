"""What the embedded teacher's routes do: chat completions with their faults, uploaded files, and batches.

Answers are `teacher_answers`' affair and depend on the request alone; only 429 and 500 depend on how often
a request was seen, so that a retry gets through.
"""

import json
import secrets
import threading
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from models.shapes.teacher_answers import BadRequest, Faults, Json, answer_request, body_digest, message_parts

IMAGE_TOKENS = 64  # charged for an image


@dataclass
class _Job:
    """One batch: its input, and its outcome once it has been polled often enough."""

    input_file: str
    metadata: Json
    polls_left: int
    output_file: str = ""
    error_file: str = ""
    counts: Json = field(default_factory=dict)


class TeacherApi:
    """The teacher behind its routes: an answer is a status and a body, for chat completions with headers too.

    `served` counts the requests by outcome (answered, rate_limited, server_error, bad_request, refused), and
    `answered` counts the answers by request digest. `batch_polls` is how often a batch is polled before it is done.
    """

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        seed: int = 0,
        api_key: str = "",
        model: str = "shapes-teacher",
        retry_after_s: tuple[float, float] = (0.05, 0.2),
        batch_polls: int = 1,
    ) -> None:
        self.faults = faults or Faults()
        self.seed = seed
        self.api_key = api_key or secrets.token_urlsafe(24)
        self.model = model
        self.retry_after_s = retry_after_s
        self.batch_polls = batch_polls
        self.served: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        self.jobs: dict[str, _Job] = {}
        self._times_seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._eyes = threading.Lock()  # one answer at a time: threads that share two cores only slow each other

    def count(self, outcome: str) -> None:
        """One more request with this outcome."""
        with self._lock:
            self.served[outcome] += 1

    def complete(self, body: Json) -> tuple[int, Json, dict[str, str]]:
        """Status, body and headers of one chat completion."""
        digest = body_digest(body)
        with self._lock:
            self._times_seen[digest] += 1
            luck = Random(f"{digest}/{self.seed}/{self._times_seen[digest]}")
        chance = luck.random()
        if chance < self.faults.rate_limited:
            self.count("rate_limited")
            wait = luck.uniform(*self.retry_after_s)
            return 429, error_body("slow down", "rate_limit_exceeded"), {"Retry-After": f"{wait:.3f}"}
        if chance < self.faults.rate_limited + self.faults.server_error:
            self.count("server_error")
            return 500, error_body("the server had an error", "server_error"), {}
        return *self._answer(body, digest), {}

    def _answer(self, body: Json, digest: str) -> tuple[int, Json]:
        if body.get("model") != self.model:
            self.count("bad_request")
            return 404, error_body(f"the model {body.get('model')!r} does not exist", "model_not_found")
        try:
            with self._eyes:
                text = answer_request(body, self.faults, self.seed)
        except BadRequest as error:
            self.count("bad_request")
            return 400, error_body(str(error), "invalid_request_error")
        with self._lock:
            self.served["answered"] += 1
            self.answered[digest] += 1
        return 200, _completion(body, digest, text)

    def create_batch(self, body: Json) -> tuple[int, Json]:
        """Start a batch on an uploaded file."""
        source = str(body.get("input_file_id"))
        if source not in self.files:
            return 400, error_body(f"no file {source!r}", "invalid_request_error")
        with self._lock:
            name = f"batch_{len(self.jobs)}"
            self.jobs[name] = _Job(source, body.get("metadata") or {}, self.batch_polls)
        return 200, self._shown(name)

    def list_batches(self) -> tuple[int, Json]:
        """Every batch, newest first."""
        shown = [self._shown(name) for name in reversed(self.jobs)]
        return 200, {"object": "list", "data": shown, "has_more": False}

    def poll_batch(self, name: str) -> tuple[int, Json]:
        """A batch's state; the poll that finds it due computes its files."""
        if name not in self.jobs:
            return 404, error_body(f"no batch {name!r}", "not_found")
        job = self.jobs[name]
        with self._lock:
            job.polls_left -= 1
            due = job.polls_left < 0 and not job.counts
        if due:
            self._run(job)
        return 200, self._shown(name)

    def _run(self, job: _Job) -> None:
        good: list[Json] = []
        bad: list[Json] = []
        for line in self.files[job.input_file].decode().splitlines():
            row = json.loads(line)
            status, answer, _ = self.complete(row["body"])
            response = {"status_code": status, "request_id": row["custom_id"], "body": answer}
            outcome = {"custom_id": row["custom_id"], "response": response, "error": None}
            (good if status == 200 else bad).append(outcome)
        job.output_file, job.error_file = (self.add_file(_lines(rows)) if rows else "" for rows in (good, bad))
        job.counts = {"total": len(good) + len(bad), "completed": len(good), "failed": len(bad)}

    def add_file(self, data: bytes) -> str:
        """Keep a file; its id."""
        with self._lock:
            name = f"file-{len(self.files)}"
            self.files[name] = data
        return name

    def _shown(self, name: str) -> Json:
        job = self.jobs[name]
        return {
            "id": name, "object": "batch", "endpoint": "/v1/chat/completions", "completion_window": "24h",
            "created_at": 0, "input_file_id": job.input_file, "metadata": job.metadata,
            "status": "completed" if job.counts else "in_progress",
            "output_file_id": job.output_file or None, "error_file_id": job.error_file or None,
            "request_counts": job.counts or {"total": 0, "completed": 0, "failed": 0},
        }  # fmt: skip


def _lines(rows: list[Json]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def error_body(message: str, code: str) -> Json:
    """The body of an answer that is an error."""
    return {"error": {"message": message, "type": code, "code": code, "param": None}}


def _completion(body: Json, digest: str, text: str) -> Json:
    parts = message_parts(body)
    characters = sum(len(part.get("text", "")) for part in parts)
    prompt = characters // 4 + IMAGE_TOKENS * sum(part.get("type") == "image_url" for part in parts)
    answer = len(text) // 4
    return {
        "id": f"chatcmpl-{digest[:24]}", "object": "chat.completion", "created": 0, "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
    }  # fmt: skip
