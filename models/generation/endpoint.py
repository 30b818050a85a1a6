"""Generation by any OpenAI-compatible chat endpoint: GPT-4o, or a released checkpoint behind vLLM.

The key and the address come from OPENAI_API_KEY and OPENAI_BASE_URL alone and are in no message. Nothing is kept
between calls but the count of what was used, so a caller that wants to resume stores the results.

Greedy means the endpoint's greedy: a vLLM server adds the penalties of the checkpoint's own `generation_config.json`
unless it is started with `--generation-config vllm`. What one with a reasoning parser takes out of an answer is put
back (https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html).
"""

import asyncio
import contextvars
import itertools
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from models.errors import TeacherRefused
from models.generation.endpoint_address import FOR_JUDGE, Endpoint
from models.generation.endpoint_answers import whole_text
from models.generation.endpoint_fields import Learned
from models.generation.limits import Limits, guess_prompt_tokens
from models.generation.openai_client import Connection, RequestRejected
from models.generation.protocol import Generated, GeneratorIdentity, Progress, SamplingParams
from models.media.frames import data_url
from models.verdict.grammar import Mode
from models.verdict.prompts import Message, data_url_part

logger = logging.getLogger(__name__)

Returned = TypeVar("Returned")

# What vLLM and SGLang pass on to a chat template: a direct answer begins after any thinking block is closed
# (`models.verdict.chat_template`). OpenAI's own API refuses the field by name, and is asked without it
# (endpoint_fields.py).
WITHOUT_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
PROBES = 3  # requests that go one by one until one is answered: a wrong key or setting costs no more than these
SEEDS = 2**31  # servers take seeds of 31 bits or more


@dataclass
class Spent:
    """What a generator used: requests answered and rejected, further tries, and the tokens the endpoint reported."""

    requests: int = 0
    rejected: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def endpoint_identity(endpoint: Endpoint) -> GeneratorIdentity:
    """What an endpoint's texts are known by: its host, port and model."""
    return GeneratorIdentity("endpoint", f"{endpoint.host} {endpoint.model}", "")


class EndpointGenerator:
    """A `Generator` over an endpoint. `spent` counts over all calls.

    Of `limits` it takes the pace, the concurrency, the timeout and the retries; temperature and tokens are the call's,
    and no budget is kept.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits | None = None) -> None:
        self.endpoint = endpoint
        self.limits = limits or Limits()
        self.spent = Spent()
        self.answers = False  # some request was answered, or refused for its content alone
        self.learned = Learned()
        self.one_by_one = False  # the endpoint gives one choice whatever `n` asks for

    @classmethod
    def from_environment(cls, model: str, limits: Limits | None = None) -> Self:
        """At OPENAI_BASE_URL with OPENAI_API_KEY. Raises `TeacherRefused` for a missing or unusable one."""
        return cls(Endpoint.from_environment(model, FOR_JUDGE), limits)

    @property
    def identity(self) -> GeneratorIdentity:
        """See `Generator.identity`. An endpoint does not report what it serves under a name, nor its precision."""
        return endpoint_identity(self.endpoint)

    def generate(
        self,
        conversations: Sequence[list[Message]],
        params: SamplingParams,
        *,
        mode: Mode = "think",
        on_progress: Progress | None = None,
    ) -> list[list[Generated]]:
        """See `Generator.generate`. A rejected request, such as one for its content, has `params.n` empty completions.

        Raises `TeacherRefused` for a refused key, an unknown model, or when the first requests are all rejected, and
        `TeacherUnreachable` when the tries are used up.
        """

        async def all_of_them() -> list[list[Generated]]:
            async with Connection(self.endpoint, self.limits, FOR_JUDGE, self.learned) as connection:
                call = _Call(self, connection, params, mode)
                try:
                    return await call.answer(conversations, on_progress)
                finally:
                    self.spent.retries += connection.retries

        return _run(all_of_them)


class _Call:
    """One call of `generate`: its settings, and the requests they make."""

    def __init__(
        self,
        owner: EndpointGenerator,
        connection: Connection,
        params: SamplingParams,
        mode: Mode,
    ) -> None:
        self.owner = owner
        self.connection = connection
        self.params = params
        self.mode = mode

    async def answer(
        self, conversations: Sequence[list[Message]], on_progress: Progress | None
    ) -> list[list[Generated]]:
        """The completions of all conversations, in their order."""
        results: list[list[Generated]] = [[] for _ in conversations]
        seeds = [seed % SEEDS for seed in self.params.seeds(len(conversations))]
        done = 0
        last_reason = ""

        async def one(at: int) -> None:
            nonlocal done, last_reason
            try:
                results[at] = await self._ask(conversations[at], seeds[at])
            except RequestRejected as rejected:
                last_reason = str(rejected)
                logger.warning("%s rejects request %d: %s", self.connection.endpoint.host, at, rejected)
                self.owner.spent.rejected += 1
                self.owner.answers |= rejected.for_content
                results[at] = [Generated("", truncated=False, refused=rejected.kind)] * self.params.n
            done += 1
            if on_progress is not None:
                on_progress(done, len(conversations))

        rest = iter(range(len(conversations)))
        for at in itertools.islice(rest, PROBES):
            await one(at)
            if self.owner.answers:
                break
        if conversations and not self.owner.answers:
            raise TeacherRefused(f"{self.connection.endpoint.host} rejects every request: {last_reason}")
        await _at_once(rest, one, self.owner.limits.concurrency)
        return results

    async def _ask(self, conversation: list[Message], seed: int) -> list[Generated]:
        """`n` completions: in one request if the endpoint can, or else in `n` whose seeds differ."""
        messages = await asyncio.to_thread(_encoded, conversation)
        n, found = self.params.n, list[Generated]()
        if n > 1 and not self.owner.one_by_one:
            try:
                found = await self._request(messages, n, seed)
            except RequestRejected as rejected:
                if rejected.for_content:
                    raise
                logger.info("%s rejects n=%d: %s", self.connection.endpoint.host, n, rejected)
        while len(found) < n:
            found += await self._request(messages, 1, seed + len(found))
            self.owner.one_by_one = n > 1
        return found[:n]

    async def _request(self, messages: list[Message], n: int, seed: int) -> list[Generated]:
        extra: dict[str, Any] = {"seed": seed} | ({"n": n} if n > 1 else {})
        if self.mode == "direct":
            extra["extra_body"] = WITHOUT_THINKING
        completion = await self._complete(messages, n, extra)
        usage, spent = completion.get("usage") or {}, self.owner.spent
        self.owner.answers = True
        spent.requests += 1
        spent.prompt_tokens += usage.get("prompt_tokens") or 0
        spent.completion_tokens += usage.get("completion_tokens") or 0
        return [_generated(choice, self.mode) for choice in completion["choices"]]

    async def _complete(self, messages: list[Message], n: int, extra: dict[str, Any]) -> dict[str, Any]:
        return await self.connection.completion(
            messages,
            temperature=self.params.temperature,
            max_tokens=self.params.max_tokens,
            extra=extra,
            tokens=guess_prompt_tokens(messages) + n * self.params.max_tokens,
        )


def _generated(choice: dict[str, Any], mode: Mode) -> Generated:
    """A choice's text, that of a refusal included: it reads as no verdict, and shows why there is none.

    What a reasoning parser took out of a thinking answer is put back; before a direct answer it is none of the answer.
    """
    message = choice.get("message") or {}
    text = whole_text(message) if mode == "think" else message.get("content")
    text = text or message.get("refusal")
    return Generated(text.strip() if isinstance(text, str) else "", truncated=choice.get("finish_reason") == "length")


def _encoded(conversation: list[Message]) -> list[Message]:
    """The messages with their decoded images as data URLs."""
    return [
        {
            **message,
            "content": [
                data_url_part(data_url(part["image"])) if part["type"] == "image" else part
                for part in message["content"]
            ],
        }
        for message in conversation
    ]


async def _at_once(work: Iterator[int], one: Callable[[int], Coroutine[Any, Any, None]], most: int) -> None:
    """Do `one` for all of `work`, at most `most` at a time. A failure ends those under way: their results are lost."""

    async def worker() -> None:
        for at in work:
            await one(at)

    workers = [asyncio.create_task(worker()) for _ in range(most)]
    try:
        await asyncio.gather(*workers)
    finally:
        for one_worker in workers:
            one_worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _run(work: Callable[[], Coroutine[Any, Any, Returned]]) -> Returned:
    """Run to the end in a loop of its own: in this thread, or in another where this one's loop is running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="endpoint") as own:
        return own.submit(context.run, lambda: asyncio.run(work())).result()
