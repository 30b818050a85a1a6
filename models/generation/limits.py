"""What asking a teacher may cost: limits, the running account, and the pace.

The account decides in the order of the requests and by worst cases, so that neither concurrency nor an
interruption changes which requests a budget admits, and the budget is never passed.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

CHARACTERS_PER_TOKEN = 4  # https://platform.openai.com/tokenizer: "one token generally corresponds to ~4 characters"
IMAGE_TOKENS = 500  # guessed for an image until the first answer shows what the endpoint counts
HEADROOM = 1.25  # of a prompt's estimate over what the first answer's count suggests


@dataclass(frozen=True)
class Limits:
    """How a teacher is asked. Times are in seconds, prices in dollars a million tokens.

    `max_cost_usd` and `max_requests` bound all answers that a call uses, those an interrupted call paid for
    included. `max_attempts` bounds the tries of one request, `max_wait_s` the longest `Retry-After` that is waited for.
    """

    temperature: float = 0.7
    max_tokens: int = 1024
    max_reasks: int = 1
    max_cost_usd: float = 50.0
    max_requests: int = 100_000
    usd_per_million_input: float = 0.0
    usd_per_million_output: float = 0.0
    concurrency: int = 16
    requests_per_minute: float = 60_000
    tokens_per_minute: float = 60_000_000
    timeout_s: float = 60.0
    max_attempts: int = 6
    backoff_s: float = 0.5
    max_wait_s: float = 600.0
    batch_poll_s: float = 30.0


@dataclass
class Usage:
    """What a call used. `requests`, tokens and `cost_usd` were paid for now; `cached` answers were kept from before.

    `total_cost_usd` prices all answers used, whenever they were paid for; `retries` counts further tries.
    """

    requests: int = 0
    cached: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    total_cost_usd: float = 0.0


def guess_prompt_tokens(messages: list[dict[str, Any]]) -> int:
    """A prompt's size before any endpoint has counted it."""
    tokens = 0
    for message in messages:
        content = message["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            text = part.get("text")
            tokens += IMAGE_TOKENS if text is None else -(-len(text) // CHARACTERS_PER_TOKEN)
    return tokens


@dataclass(frozen=True)
class Reserve:
    """The worst case of one request under way: its guessed prompt tokens and its dollars."""

    guess: int
    cost_usd: float


class Account:
    """What is spent and what is reserved for requests under way."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.usage = Usage()
        self.under_way = 0
        self._reserved_usd = 0.0
        self._tokens_per_guess: float | None = None

    @property
    def calibrated(self) -> bool:
        """Whether an answer has shown what the endpoint counts for a prompt."""
        return self._tokens_per_guess is not None

    def worst_case(self, guess: int) -> Reserve:
        """What a request of this guessed size can cost at most."""
        prompt = guess * HEADROOM * (self._tokens_per_guess or 1.0)
        return Reserve(guess, self._price(prompt, self.limits.max_tokens))

    def tokens(self, reserve: Reserve) -> float:
        """The tokens that a request is expected to take at most, for the pace."""
        return reserve.guess * (self._tokens_per_guess or 1.0) + self.limits.max_tokens

    def refusal(self, reserve: Reserve) -> str | None:
        """Why one more request does not fit, or None if it does."""
        limits, used = self.limits, self.usage.requests + self.usage.cached + self.under_way
        if used + 1 > limits.max_requests:
            return f"max_requests {limits.max_requests} is used up"
        cost = self.usage.total_cost_usd + self._reserved_usd + reserve.cost_usd
        if cost > limits.max_cost_usd:
            return (
                f"max_cost_usd {limits.max_cost_usd:g} leaves no room for one more request: "
                f"${self.usage.total_cost_usd:.4f} spent, up to ${reserve.cost_usd:.4f} needed"
            )
        return None

    def reserve(self, reserve: Reserve) -> None:
        """Set the worst case aside."""
        self.under_way += 1
        self._reserved_usd += reserve.cost_usd

    def release(self, reserve: Reserve) -> None:
        """Give back what `reserve` set aside."""
        self.under_way -= 1
        self._reserved_usd = self._reserved_usd - reserve.cost_usd if self.under_way else 0.0

    def book(self, answer: dict[str, Any], guess: int, *, cached: bool) -> None:
        """Count an answer, paid for now or kept from before."""
        prompt, completion = int(answer["prompt_tokens"]), int(answer["completion_tokens"])
        cost, usage = self._price(prompt, completion), self.usage
        usage.total_cost_usd += cost
        if cached:
            usage.cached += 1
        else:
            usage.requests += 1
            usage.prompt_tokens += prompt
            usage.completion_tokens += completion
            usage.cost_usd += cost
        if self._tokens_per_guess is None:
            self._tokens_per_guess = prompt / max(guess, 1) or 1.0

    def _price(self, prompt: float, completion: float) -> float:
        limits = self.limits
        return (prompt * limits.usd_per_million_input + completion * limits.usd_per_million_output) / 1e6


class Pace:
    """Spaces work evenly so that no minute sees more than `per_minute` of it.

    aiolimiter does not: it lets a minute's worth start at once and as much again within that minute (199 of 100 when
    tried), and it refuses an amount above its capacity, as a request's tokens may be.
    """

    def __init__(self, per_minute: float) -> None:
        self._seconds_each = 60.0 / per_minute
        self._free_at = 0.0

    async def wait(self, amount: float = 1.0) -> None:
        """Return when `amount` more may start."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._free_at)
        self._free_at = start + amount * self._seconds_each
        if start > now:
            await asyncio.sleep(start - now)
