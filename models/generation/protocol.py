"""What a judge needs of whatever generates its text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from models.prompts import Message
from models.verdict import Mode

Progress = Callable[[int, int], None]
OnText = Callable[[int, int, str], None]  # the conversation, the sample, and what it says further


@dataclass(frozen=True)
class Generated:
    """One completion; `truncated` when it met the token limit before its end."""

    text: str
    truncated: bool


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
        mode: Mode = "think",
        on_progress: Progress | None = None,
    ) -> list[list[Generated]]:
        """`n` completions a conversation, in order. Temperature 0 is greedy; `seed` fixes the rest.

        `mode` says which prompt the chat template is to write, see `models.chat_template`; a text is the whole answer,
        what of it stands in the prompt included.
        """
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
        mode: Mode = "think",
        on_progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[list[Generated]]:
        """See `Generator.generate`; `on_text` is called from the generating thread."""
        ...
