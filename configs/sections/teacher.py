"""The teacher and what may be asked of it."""

from typing import Literal

from pydantic import Field

from configs.sections.base import Fraction, Positive, Section


class EmbeddedTeacher(Section):
    """How often the embedded teacher errs, so that validation and retries earn their keep."""

    wrong_perception: Fraction = Field(0.06, description="share of answers in which it misreads a shape")
    broken_grammar: Fraction = Field(0.04, description="share of answers outside the grammar")
    rate_limited: Fraction = Field(0.02, description="share of requests answered 429 with Retry-After")
    server_error: Fraction = Field(0.02, description="share of requests answered 500")


class Distill(Section):
    """Reasoning asked from a teacher over any OpenAI-compatible endpoint, kept only if it proves right."""

    RESULT_NEUTRAL = frozenset(
        {"concurrency", "requests_per_minute", "tokens_per_minute", "timeout_s", "max_attempts", "batch_poll_s"}
    )
    pairs: Positive = Field(1200, description="image_generation pairs to ask about (paper: 10K)")
    other_pairs: int = Field(
        0, ge=0, description="pairs of each other task to ask about (paper: 0; a small model needs some to carry the "
        "layout over)"
    )  # fmt: skip
    teacher: Literal["embedded", "openai", "published"] = Field(
        "embedded",
        description="embedded: a local server reading pixels; openai: OPENAI_BASE_URL and OPENAI_API_KEY; published: "
        "nobody, the reasoning that comes with prepare.sources is taken",
    )
    model: str = Field("shapes-teacher", min_length=1, description="model name sent to the endpoint")
    temperature: float = Field(0.7, ge=0, le=2, description="sampling temperature asked for")
    max_tokens: Positive = Field(1024, description="tokens of an answer at most")
    max_reasks: int = Field(1, ge=0, le=10, description="further asks after a malformed answer")
    lenient: bool = Field(
        True,
        description="true: an answer that states a clear verdict in another layout (bold names, =22/30) is written "
        "again in the grammar; false: it is malformed. What is trained on is in the grammar either way",
    )
    max_cost_usd: float = Field(50.0, ge=0, description="dollars after which no request is sent; all paid for is kept")
    max_requests: Positive = Field(100_000, description="requests after which none is sent")
    usd_per_million_input: float = Field(2.5, ge=0, description="price of prompt tokens, dollars a million")
    usd_per_million_output: float = Field(10.0, ge=0, description="price of answer tokens, dollars a million")
    mode: Literal["online", "batch"] = Field(
        "online", description="batch: the OpenAI Batch API (upload, poll, collect)"
    )
    concurrency: int = Field(16, ge=1, le=1024, description="requests under way at once")
    requests_per_minute: float = Field(60_000, gt=0, description="client-side limit, requests a minute")
    tokens_per_minute: float = Field(60_000_000, gt=0, description="client-side limit, tokens a minute")
    timeout_s: float = Field(60.0, gt=0, description="seconds to wait for one answer")
    max_attempts: int = Field(6, ge=1, le=50, description="tries of one request against 429, 5xx and lost connections")
    batch_poll_s: float = Field(30.0, gt=0, description="seconds between polls of a batch")
    embedded: EmbeddedTeacher = Field(default_factory=EmbeddedTeacher, description="the embedded teacher's faults")
