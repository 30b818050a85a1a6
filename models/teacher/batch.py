"""Asking a teacher through the Batch API: upload, create, poll, collect; and again after a restart.

A journal in the answer store names every batch before it is created, and the batch carries that name, so
a batch is found again whenever we died, and what it answers is collected rather than paid for again.
"""

import asyncio
import json
import logging
import tempfile
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import TeacherRefused, TeacherUnreachable
from models.generation.endpoint_answers import answer_of
from models.generation.endpoint_fields import LIMIT, Refusal
from models.generation.limits import Limits, Reserve, guess_prompt_tokens
from models.generation.openai_client import CONTENT_CODES, REFUSED, RETRIED, Connection
from models.teacher.session import AnswerStore, Session

logger = logging.getLogger(__name__)

JOURNAL = "batches"
OPTIONAL = {"temperature": None, LIMIT: None}  # of a teacher's first asks
# https://platform.openai.com/docs/guides/batch: at most 50 000 requests and 200 MB an input file.
MOST_REQUESTS = 50_000
MOST_BYTES = 190 * 10**6
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True)
class _Waiting:
    """A request that is part of a batch."""

    index: int
    digest: str
    reserve: Reserve


async def ask_in_batches(session: Session, indices: list[int], ask: int) -> None:
    """One round of asks. Raises like `ask_all`; a budget that is reached sets `session.stopped`."""
    batches = _Batches(session.connection, session.limits, session.store)
    await batches.collect()
    tries: Counter[int] = Counter()
    while indices:
        sent, refusal, position = await _send(session, batches, indices, ask)
        if not sent:
            session.stopped = f"budget: {refusal}" if refusal else None
            return
        await batches.collect()
        again = []
        for one in sent:
            session.account.release(one.reserve)
            answer = await asyncio.to_thread(session.store.get, one.digest)
            if answer is not None:
                session.keep(one.index, answer, one.reserve.guess, cached=False)
            elif one.digest not in batches.rejected:
                tries[one.index] += 1
                again.append(one.index)
        if again and max(tries.values()) >= session.limits.max_attempts:
            raise TeacherUnreachable(
                f"{len(again)} requests had no answer in {session.limits.max_attempts} batches; every answer so far is "
                "kept: start again to continue"
            )
        indices = again + indices[position:]


async def _send(
    session: Session, batches: "_Batches", indices: list[int], ask: int
) -> tuple[list[_Waiting], str | None, int]:
    """Put what the budget admits into batches; what was sent, why no more was, and how far that went."""
    sent: list[_Waiting] = []
    named: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        chunk = _Chunk(Path(folder))
        for position, index in enumerate(indices):
            messages = session.requests[index]
            digest, guess = session.digest(messages, ask), guess_prompt_tokens(messages)
            if digest in named:
                return await _sent(batches, chunk, sent, None, position)  # an equal one: its answer is on the way
            stored = await asyncio.to_thread(session.store.get, digest)
            if stored is not None:
                session.keep(index, stored, guess, cached=True)
                continue
            reserve = session.account.worst_case(guess)
            refusal = session.account.refusal(reserve)
            if refusal is not None:
                return await _sent(batches, chunk, sent, refusal, position)
            session.account.reserve(reserve)
            line = json.dumps({"custom_id": digest, "method": "POST", "url": "/v1/chat/completions",
                               "body": session.connection.body(messages, ask)})  # fmt: skip
            if not chunk.fits(line):
                await batches.create(chunk.path)
                chunk = _Chunk(Path(folder))
            chunk.add(line)
            named.add(digest)
            sent.append(_Waiting(index, digest, reserve))
        return await _sent(batches, chunk, sent, None, len(indices))


async def _sent(
    batches: "_Batches", chunk: "_Chunk", sent: list[_Waiting], refusal: str | None, position: int
) -> tuple[list[_Waiting], str | None, int]:
    if chunk.count:
        await batches.create(chunk.path)
    return sent, refusal, position


class _Chunk:
    """The input file of one batch while it is written."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.jsonl"
        self.count = 0
        self._bytes = 0

    def fits(self, line: str) -> bool:
        return self.count < MOST_REQUESTS and (not self.count or self._bytes + len(line) < MOST_BYTES)

    def add(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.count += 1
        self._bytes += len(line) + 1


class _Batches:
    """The batches that the journal names, and the requests that the endpoint rejected in them."""

    def __init__(self, connection: Connection, limits: Limits, store: AnswerStore) -> None:
        self.rejected: set[str] = set()
        self._connection = connection
        self._limits = limits
        self._store = store
        self._fields = connection.learned.fields  # in which form the latest batches were sent

    async def create(self, path: Path) -> None:
        """Upload a file and start a batch on it; the journal knows its mark beforehand."""
        token = uuid.uuid4().hex
        self._fields = self._connection.learned.fields
        file_id = await self._connection.upload(path)
        journal = await self._journal()
        await self._write([*journal, {"token": token, "id": None}])
        batch_id = await self._connection.create_batch(file_id, token)
        await self._write([*journal, {"token": token, "id": batch_id}])
        logger.info("batch %s is created", batch_id)

    async def collect(self) -> None:
        """Wait for every batch in the journal, store its answers, and strike it out."""
        for entry in await self._journal():
            batch_id = entry["id"] or await self._connection.find_batch(entry["token"])
            state: dict[str, Any] = {"status": "cancelled"} if batch_id is None else await self._ended(str(batch_id))
            await self._take_files(state)
            await self._write([other for other in await self._journal() if other["token"] != entry["token"]])
            if state["status"] == "failed":
                errors: Any = state.get("errors") or {}
                faults = [one.get("message") for one in errors.get("data") or []]
                raise TeacherRefused(f"batch {batch_id} failed: {'; '.join(map(str, faults)) or 'no reason given'}")

    async def _ended(self, batch_id: str) -> dict[str, Any]:
        while (state := await self._state(batch_id))["status"] not in ENDED:  # noqa: ASYNC110  (a remote state)
            await asyncio.sleep(self._limits.batch_poll_s)
        return state

    async def _take_files(self, state: dict[str, Any]) -> None:
        for file_id in (state.get("output_file_id"), state.get("error_file_id")):
            for row in await self._connection.lines(file_id) if file_id else []:
                await self._take(row)

    async def _state(self, batch_id: str) -> dict[str, Any]:
        try:
            return await self._connection.batch(batch_id)
        except TeacherRefused as refused:
            if "404" not in str(refused):
                raise
            logger.warning("batch %s is unknown to the endpoint: its requests are sent again", batch_id)
            return {"status": "cancelled"}

    async def _take(self, row: dict[str, Any]) -> None:
        """Store one answer. What failed for now is left to be sent again, what was rejected is noted."""
        digest, response = str(row["custom_id"]), row.get("response") or {}
        status = int(response.get("status_code") or 0)
        if status == 200:
            await asyncio.to_thread(self._store.put, digest, answer_of(response["body"]))
            self._connection.learned.answered(self._fields, self._fields.of(OPTIONAL))
        elif status in REFUSED:
            host = self._connection.endpoint.host
            raise TeacherRefused(f"{host} refused a request of a batch ({status}): check the key and distill.model")
        elif 400 <= status < 500 and status not in RETRIED and not self._learns(response.get("body") or {}):
            self.rejected.add(digest)

    def _learns(self, body: dict[str, Any]) -> bool:
        """Whether a request was rejected for a field that it can go without: it is sent again without it."""
        error, learned = body.get("error") or {}, self._connection.learned
        if not isinstance(error, dict) or error.get("code") in CONTENT_CODES:
            return False
        refusal = Refusal(str(error.get("message")), str(error.get("param") or ""))
        shown = self._connection.endpoint.mask_key(refusal.text)
        known = self._fields.after(self._fields.of(OPTIONAL), refusal, shown, learned.hopeless)
        learned.fields = learned.fields.with_(known or self._fields)
        return known is not None

    async def _journal(self) -> list[dict[str, Any]]:
        stored = await asyncio.to_thread(self._store.get, JOURNAL)
        return list(stored["batches"]) if stored else []

    async def _write(self, entries: list[dict[str, Any]]) -> None:
        await asyncio.to_thread(self._store.put, JOURNAL, {"batches": entries})
