"""The one door to the `openai` package: one request with bounded retries, and the Batch API's calls.

A teacher and a judge behind an endpoint both come through here. The package is imported only when a connection is made.
Its own retries are off: they know no Retry-After above two minutes and no quota that is used up, do not keep the pace,
and are neither counted nor stopped by the caller. The text of a refusal of the key itself is not quoted at all.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from models.errors import TeacherRefused, TeacherUnreachable
from models.generation.endpoint_address import FOR_TEACHER, Advice, Endpoint
from models.generation.endpoint_answers import Answer, answer_of
from models.generation.endpoint_fields import LIMIT, Learned, Refusal
from models.generation.limits import Limits, Pace

Returned = TypeVar("Returned")

LONGEST_BACKOFF_S = 60.0
RETRIED = frozenset({408, 409, 429})
REFUSED = frozenset({401, 403, 404})
MALFORMED = frozenset({400, 422})
# The codes of a 400 for what a request shows: OpenAI's, and Azure's
# (https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter).
CONTENT_CODES = frozenset({"content_policy_violation", "content_filter"})


class RequestRejected(Exception):
    """The endpoint will not answer this one request (400, 413, 422): others may fare better.

    `for_content` is whether it objects to what the request shows, not to its form.
    """

    def __init__(self, text: str, *, for_content: bool = False, refusal: Refusal | None = None) -> None:
        super().__init__(text)
        status = text.split(" ")[0] if text[:3].isdigit() else text
        self.kind = f"{status} content" if for_content else status  # to count by
        self.for_content = for_content
        self.refusal = refusal  # of the request's form, which may do with other fields


class Connection:
    """One client, with the pace and the retries of `limits`. Use as an async context manager.

    `learned` is what is known of the fields that the endpoint takes, and grows.
    """

    def __init__(
        self, endpoint: Endpoint, limits: Limits, advice: Advice = FOR_TEACHER, learned: Learned | None = None
    ) -> None:
        self.endpoint = endpoint
        self.learned = learned or Learned()
        self._advice = advice
        self.retries = 0
        self.cancelled = False  # set by the caller: no request is tried again
        self._limits = limits
        self._requests = Pace(limits.requests_per_minute)
        self._tokens = Pace(limits.tokens_per_minute)
        self._jitter = random.Random()

    async def __aenter__(self) -> Self:
        import openai

        client = None
        if self.endpoint.is_local:
            client = openai.DefaultAsyncHttpxClient(trust_env=False)  # a proxy cannot reach our own machine
        self._client = openai.AsyncOpenAI(
            api_key=self.endpoint.api_key,
            base_url=self.endpoint.base_url,
            timeout=self._limits.timeout_s,
            max_retries=0,
            http_client=client,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def body(self, messages: list[dict[str, Any]], ask: int) -> dict[str, Any]:
        """The body of a teacher's chat completion, as far as the endpoint takes it.

        A further ask differs by its `seed`, which no first ask sends.
        """
        return self.learned.fields.of(self._asked(messages, ask))

    def _asked(self, messages: list[dict[str, Any]], ask: int) -> dict[str, Any]:
        extra = {"seed": ask} if ask else {}
        return self._body(messages, self._limits.temperature, self._limits.max_tokens, extra)

    def _body(
        self, messages: list[dict[str, Any]], temperature: float, max_tokens: int, extra: dict[str, Any]
    ) -> dict[str, Any]:
        body = {"model": self.endpoint.model, "messages": messages, "temperature": temperature}
        return body | {LIMIT: max_tokens} | extra

    async def complete(self, messages: list[dict[str, Any]], ask: int, tokens: float) -> Answer:
        """A teacher's answer. `tokens` is what the request is expected to take.

        Raises `RequestRejected`, `TeacherRefused` or `TeacherUnreachable`.
        """
        return answer_of(await self._completion(self._asked(messages, ask), tokens))

    async def completion(
        self,
        messages: list[dict[str, Any]],
        *,
        temperature: float,
        max_tokens: int,
        extra: dict[str, Any],
        tokens: float,
    ) -> dict[str, Any]:
        """A chat completion as the API words it, with at least one choice. `extra` is further fields (`n`, `seed`).

        Raises like `complete`.
        """
        return await self._completion(self._body(messages, temperature, max_tokens, extra), tokens)

    async def _completion(self, body: dict[str, Any], tokens: float) -> dict[str, Any]:
        fields = self.learned.fields
        while True:
            sent = fields.of(body)

            async def call(sent: dict[str, Any] = sent) -> Any:
                await self._tokens.wait(tokens)
                return await self._client.chat.completions.create(**_as_they_are(sent))

            try:
                completion = self._read(await self._tried(call))
            except RequestRejected as rejected:
                known = fields.with_(self.learned.fields)
                if known == fields:  # else others have learned more while this was under way
                    text, hopeless = str(rejected), self.learned.hopeless
                    known = (rejected.refusal and fields.after(sent, rejected.refusal, text, hopeless)) or fields
                if known == fields:
                    self.learned.failed(fields)
                    raise
                fields = known
            else:
                self.learned.answered(fields, sent)
                return completion

    def _read(self, reply: Any) -> dict[str, Any]:
        completion: dict[str, Any] | None = reply.model_dump(warnings=False) if hasattr(reply, "model_dump") else None
        if completion is None or "choices" not in completion:
            raise TeacherRefused(
                f"{self.endpoint.host} does not answer as a chat completions API: check that OPENAI_BASE_URL ends "
                "where /chat/completions follows, usually in /v1"
            )
        if not completion["choices"]:
            raise RequestRejected("an answer without choices")
        return completion

    async def upload(self, path: Path) -> str:
        """Upload a JSONL file of batch requests; its id."""
        created = await self._tried(lambda: self._client.files.create(file=path, purpose="batch"))
        return str(created.id)

    async def create_batch(self, file_id: str, token: str) -> str:
        """Start a batch that is marked with `token`; its id."""
        created = await self._tried(
            lambda: self._client.batches.create(
                input_file_id=file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"thinkreward": token},
            )
        )
        return str(created.id)

    async def find_batch(self, token: str) -> str | None:
        """The id of the batch marked with `token`, among the endpoint's latest hundred, or None."""
        page = await self._tried(lambda: self._client.batches.list(limit=100))
        return next((str(one.id) for one in page.data if (one.metadata or {}).get("thinkreward") == token), None)

    async def batch(self, batch_id: str) -> dict[str, Any]:
        """A batch's state as the API words it."""
        shown: dict[str, Any] = (await self._tried(lambda: self._client.batches.retrieve(batch_id))).model_dump()
        return shown

    async def lines(self, file_id: str) -> list[dict[str, Any]]:
        """The rows of a JSONL file."""
        content = await self._tried(lambda: self._client.files.content(file_id))
        return [json.loads(line) for line in content.text.splitlines() if line.strip()]

    async def _tried(self, call: Callable[[], Awaitable[Returned]]) -> Returned:
        """Call until it works, at most `max_attempts` times, waiting longer each time or as the endpoint asks."""
        import openai

        for attempt in range(1, self._limits.max_attempts + 1):
            await self._requests.wait()
            try:
                return await call()
            except openai.APIStatusError as error:
                text = self._read_status(error)
                wait = retry_after(error.response.headers)
            except openai.APIConnectionError as error:
                text, wait = f"no connection ({type(error.__cause__ or error).__name__})", None
                if isinstance(error, openai.APITimeoutError):
                    text = f"no answer within {self._limits.timeout_s:g} s"
            except json.JSONDecodeError:
                text, wait = "an answer that is not whole JSON", None
            if attempt == self._limits.max_attempts or self.cancelled or (wait or 0) > self._limits.max_wait_s:
                break
            self.retries += 1
            await asyncio.sleep(self._delay(attempt, wait))
        asked_to_wait = f", asking to wait {wait:g} s" if wait and wait > self._limits.max_wait_s else ""
        raise TeacherUnreachable(
            f"{self.endpoint.host} gave no answer in {attempt} tries (last: {text}{asked_to_wait}); "
            f"{self._advice.after_tries}"
        )

    def _read_status(self, error: Any) -> str:
        """The text of an error status that may be tried again; raises for one that may not."""
        status, host = int(error.status_code), self.endpoint.host
        if status in (401, 403):
            raise TeacherRefused(f"{host} refused the key in OPENAI_API_KEY ({status}): check it") from None
        text = f"{status} {self.endpoint.mask_key(str(error.message))}"
        if status in REFUSED:
            raise TeacherRefused(
                f"{host} has no model {self.endpoint.model!r}, or no such route ({text}): check {self._advice.model} "
                "and OPENAI_BASE_URL"
            ) from None
        if status == 429 and error.code == "insufficient_quota":
            raise TeacherRefused(f"the account at {host} has no quota left: add some and start again") from None
        if status in RETRIED or status >= 500:
            return text
        for_content = error.code in CONTENT_CODES
        # In the server's own words: a key such as `token` is masked in what is shown alone.
        refusal = Refusal(str(error.message), str(error.param or "")) if status in MALFORMED else None
        raise RequestRejected(text, for_content=for_content, refusal=None if for_content else refusal) from None

    def _delay(self, attempt: int, wait: float | None) -> float:
        """Seconds before the next try: never less than asked for, else doubling, with jitter."""
        if wait is not None:
            return wait * self._jitter.uniform(1.0, 1.25)
        longest: float = min(LONGEST_BACKOFF_S, self._limits.backoff_s * 2 ** (attempt - 1))
        return longest * self._jitter.uniform(0.5, 1.0)


def _as_they_are(body: dict[str, Any]) -> dict[str, Any]:
    """The arguments that send this body, its messages past the package's own rewriting of typed arguments.

    That walks through every part of every message by its annotations, half of what a request costs, and changes nothing
    in what is JSON already.
    """
    extra = body.get("extra_body") or {}
    return body | {"messages": [], "extra_body": {**extra, "messages": body["messages"]}}


def retry_after(headers: Any) -> float | None:
    """Seconds that a response asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date (RFC 9110)."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after")
        if value is None:
            return None
        if value.replace(".", "", 1).strip().isdigit():
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
