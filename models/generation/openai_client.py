"""The one door to the `openai` package: an endpoint, one request with bounded retries, and the Batch API's calls.

A teacher and a judge behind an endpoint both come through here; `Advice` holds what differs in their messages. The
package is imported only when a connection is made. The key never appears in a message: server texts are
quoted only with the key taken out, and not at all where the key itself was refused.
"""

import asyncio
import json
import os
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from models.errors import TeacherRefused, TeacherUnreachable
from models.generation.endpoint_fields import LIMIT, Learned, Refusal
from models.generation.limits import Limits, Pace
from models.verdict.rendering import with_opening, with_reasoning

Answer = dict[str, Any]  # text, finish_reason, prompt_tokens, completion_tokens
Returned = TypeVar("Returned")

DEFAULT_BASE_URL = "https://api.openai.com/v1"
LONGEST_BACKOFF_S = 60.0
SHORT_KEY = 12  # characters; real keys are longer, and shorter ones are words for servers that check none
RETRIED = frozenset({408, 409, 429})
REFUSED = frozenset({401, 403, 404})
MALFORMED = frozenset({400, 422})
# The codes of a 400 for what a request shows: OpenAI's, and Azure's
# (https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter).
CONTENT_CODES = frozenset({"content_policy_violation", "content_filter"})


class RequestRejected(Exception):
    """The endpoint will not answer this one request (400, 413, 422): others may fare better.

    `for_content` tells that it objects to what the request shows, not to its form.
    """

    def __init__(self, said: str, *, for_content: bool = False, refusal: Refusal | None = None) -> None:
        super().__init__(said)
        status = said.split(" ")[0] if said[:3].isdigit() else said
        self.kind = f"{status} content" if for_content else status  # to count by
        self.for_content = for_content
        self.refusal = refusal  # of the request's form, which may do with other fields


@dataclass(frozen=True)
class Advice:
    """What a message tells whoever asks to do: without a key, with an unknown model, and after the last try."""

    without_key: str
    model: str
    after_tries: str


FOR_TEACHER = Advice(
    without_key=", or choose distill.teacher=embedded",
    model="distill.model",
    after_tries="every answer so far is kept: start again to continue, with more distill.max_attempts or a lower "
    "distill.requests_per_minute",
)


@dataclass(frozen=True)
class Endpoint:
    """Where a model is: the API's address up to `/v1`, its key, and the model's name there."""

    base_url: str
    api_key: str = field(repr=False)
    model: str

    @classmethod
    def from_environment(cls, model: str, advice: Advice = FOR_TEACHER) -> Self:
        """From OPENAI_BASE_URL (default: OpenAI's own) and OPENAI_API_KEY.

        Raises `TeacherRefused` without a key, for a key that no header can carry, and for an address without a scheme.
        """
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not key:
            raise TeacherRefused(
                "OPENAI_API_KEY is not set: set it to the endpoint's key (any word for a server that checks none)"
                + advice.without_key
            )
        if not (key.isascii() and key.isprintable()):
            raise TeacherRefused("OPENAI_API_KEY holds a character that no key has, such as a line break: set it again")
        base_url = os.environ.get("OPENAI_BASE_URL", "").strip() or DEFAULT_BASE_URL
        if not base_url.startswith(("http://", "https://")):
            raise TeacherRefused("OPENAI_BASE_URL must begin with http:// or https://: set it to the API's address")
        return cls(base_url, key, model)

    @property
    def host(self) -> str:
        """The address without a path or anything secret, for messages."""
        parts = urlsplit(self.base_url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


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
        self.given_up = False  # set by the caller: no further try is made
        self._limits = limits
        self._requests = Pace(limits.requests_per_minute)
        self._tokens = Pace(limits.tokens_per_minute)
        self._jitter = random.Random()

    async def __aenter__(self) -> Self:
        import openai

        client = None
        if urlsplit(self.endpoint.base_url).hostname in ("127.0.0.1", "localhost", "::1"):
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
                return await self._client.chat.completions.create(**sent)

            try:
                completion = self._read(await self._tried(call))
            except RequestRejected as rejected:
                known = fields.with_(self.learned.fields)
                if known == fields:  # else others have learned more while this was under way
                    said, hopeless = str(rejected), self.learned.hopeless
                    known = (rejected.refusal and fields.after(sent, rejected.refusal, said, hopeless)) or fields
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
        """Call until it works, at most `max_attempts` times, waiting longer each time or as the endpoint says."""
        import openai

        for attempt in range(1, self._limits.max_attempts + 1):
            await self._requests.wait()
            try:
                return await call()
            except openai.APIStatusError as error:
                said = self._read_status(error)
                wait = retry_after(error.response.headers)
            except openai.APIConnectionError as error:
                said, wait = f"no connection ({type(error.__cause__ or error).__name__})", None
                if isinstance(error, openai.APITimeoutError):
                    said = f"no answer within {self._limits.timeout_s:g} s"
            except json.JSONDecodeError:
                said, wait = "an answer that is not whole JSON", None
            if attempt == self._limits.max_attempts or self.given_up or (wait or 0) > self._limits.max_wait_s:
                break
            self.retries += 1
            await asyncio.sleep(self._delay(attempt, wait))
        asked_to_wait = f", asking to wait {wait:g} s" if wait and wait > self._limits.max_wait_s else ""
        raise TeacherUnreachable(
            f"{self.endpoint.host} gave no answer in {attempt} tries (last: {said}{asked_to_wait}); "
            f"{self._advice.after_tries}"
        )

    def _read_status(self, error: Any) -> str:
        """What a status that is worth another try says; raises for one that is not."""
        status, host = int(error.status_code), self.endpoint.host
        if status in (401, 403):
            raise TeacherRefused(f"{host} refused the key in OPENAI_API_KEY ({status}): check it") from None
        said = f"{status} {self.without_key(str(error.message))}"
        if status in REFUSED:
            raise TeacherRefused(
                f"{host} has no model {self.endpoint.model!r}, or no such route ({said}): check {self._advice.model} "
                "and OPENAI_BASE_URL"
            ) from None
        if status == 429 and error.code == "insufficient_quota":
            raise TeacherRefused(f"{host} says that the account has no quota left: add some and start again") from None
        if status in RETRIED or status >= 500:
            return said
        for_content = error.code in CONTENT_CODES
        # In the server's own words: a key such as `token` is masked in what is shown alone.
        refusal = Refusal(str(error.message), str(error.param or "")) if status in MALFORMED else None
        raise RequestRejected(said, for_content=for_content, refusal=None if for_content else refusal) from None

    def without_key(self, text: str) -> str:
        """Text that may be shown. A short key is masked where it stands alone, or it would eat into other words."""
        key = re.escape(self.endpoint.api_key)
        return re.sub(rf"(?<!\w){key}(?!\w)" if len(key) < SHORT_KEY else key, "***", text)[:300]

    def _delay(self, attempt: int, wait: float | None) -> float:
        """Seconds before the next try: never less than asked for, else doubling, with jitter."""
        if wait is not None:
            return wait * self._jitter.uniform(1.0, 1.25)
        longest: float = min(LONGEST_BACKOFF_S, self._limits.backoff_s * 2 ** (attempt - 1))
        return longest * self._jitter.uniform(0.5, 1.0)


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


def whole_text(message: dict[str, Any]) -> str:
    """A message's text, with what a reasoning parser took out of it and what the prompt opened (models/verdict).

    vLLM calls that `reasoning`, and before 0.12 `reasoning_content` as DeepSeek's API and SGLang do.
    """
    content = message.get("content")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    text = content if isinstance(content, str) else ""
    return with_reasoning(reasoning, text) if isinstance(reasoning, str) and reasoning.strip() else with_opening(text)


def answer_of(completion: dict[str, Any]) -> Answer:
    """What is kept of a chat completion. A refusal has no content and reads as an empty text."""
    choice = (completion.get("choices") or [{}])[0]
    usage = completion.get("usage") or {}
    return {
        "text": whole_text(choice.get("message") or {}),
        "finish_reason": choice.get("finish_reason") or "",
        "prompt_tokens": usage.get("prompt_tokens") or 0,
        "completion_tokens": usage.get("completion_tokens") or 0,
    }
