"""Where a model behind an endpoint is, its key, and what error messages advise to whoever asks it.

A teacher and a judge read the same variables; `Advice` holds what differs in their messages. The key is in no message:
server texts are quoted only with the key masked.
"""

import os
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from models.errors import TeacherRefused

DEFAULT_BASE_URL = "https://api.openai.com/v1"
SHORT_KEY = 12  # characters; real keys are longer, and shorter ones are words for servers that check none


@dataclass(frozen=True)
class Advice:
    """What error messages advise: without a key, with an unknown model, and after the last try."""

    without_key: str
    model: str
    after_tries: str


FOR_TEACHER = Advice(
    without_key=", or choose distill.teacher=embedded",
    model="distill.model",
    after_tries="every answer so far is kept: start again to continue, with more distill.max_attempts or a lower "
    "distill.requests_per_minute",
)
FOR_JUDGE = Advice(
    without_key="",
    model="the model's name",
    after_tries="nothing of this call is kept: start it again, with more tries or fewer requests at once",
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

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return urlsplit(self.base_url).hostname in ("127.0.0.1", "localhost", "::1")

    def mask_key(self, text: str) -> str:
        """Text that may be shown. A short key is masked as a whole word alone, since it may be part of others."""
        key = re.escape(self.api_key)
        return re.sub(rf"(?<!\w){key}(?!\w)" if len(key) < SHORT_KEY else key, "***", text)[:300]
