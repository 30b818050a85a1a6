"""What a judge needs of whatever generates its text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from models.prompts import Message

Progress = Callable[[int, int], None]
OnText = Callable[[int, int, str], None]  # the conversation, the sample, and what it says further


@dataclass(frozen=True)
class Generated:
    """One completion; `truncated` when it met the token limit before its end.

    `refused` says in a few words why there is none (then `text` is empty): an endpoint rejected the request, or the
    processor its media. Such a conversation costs itself alone, never the others of its batch.
    """

    text: str
    truncated: bool
    refused: str = ""


class Generator(Protocol):
    """Turns chat messages with media attached into completions."""

    def generate(
        self,
        conversations: Sequence[list[Message]],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> list[list[Generated]]:
        """`n` completions a conversation, in order. Temperature 0 is greedy; `seed` fixes the rest."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A generator that can tell each completion's text as it grows."""

    tells: bool

    def generate(
        self,
        conversations: Sequence[list[Message]],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int,
        seed: int = 0,
        on_progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[list[Generated]]:
        """See `Generator.generate`; `on_text` is called from the generating thread."""
        ...
