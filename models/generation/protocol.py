"""What a judge needs of whatever generates its text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Protocol, runtime_checkable

from models.verdict.grammar import Mode
from models.verdict.prompts import Message

Progress = Callable[[int, int], None]
OnText = Callable[[int, int, str], None]  # the conversation, the sample, and the next piece of its text
Seed = int | Sequence[int]  # one for all conversations of a call, or one each


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How completions are drawn: `n` a conversation, each of `max_tokens` tokens at most.

    Temperature 0 is greedy; above it the seed, of all conversations or of each, fixes what is drawn.
    `stop_malformed` lets a generator end a thinking completion as soon as no reading of verdicts can take it any more
    (`models.verdict.reachable`): what is right and what is malformed stays the same, but malformed texts are shorter.
    A generator may ignore it.
    """

    max_tokens: int
    n: int = 1
    temperature: float = 0.0
    seed: Seed = 0
    stop_malformed: bool = False

    def seeds(self, count: int) -> list[int]:
        """A seed for each of `count` conversations. Raises `ValueError` where there are not as many seeds.

        >>> SamplingParams(max_tokens=9, seed=7).seeds(2), SamplingParams(max_tokens=9, seed=[1, 2]).seeds(2)
        ([7, 7], [1, 2])
        """
        seeds = [self.seed] * count if isinstance(self.seed, int) else list(self.seed)
        if len(seeds) != count:
            raise ValueError(f"{len(seeds)} seeds for {count} conversations: give one for all of them, or one each")
        return seeds


@dataclass(frozen=True)
class Generated:
    """One completion; `truncated` when it met the token limit before its end.

    `refused` is a short reason why there is none (then `text` is empty): an endpoint rejected the request, or the
    processor its media. Such a conversation costs itself alone, never the others of its batch.
    """

    text: str
    truncated: bool
    refused: str = ""


@dataclass(frozen=True)
class GeneratorIdentity:
    """What wrote a text, as far as it may write another one than its like: part of the key of all it wrote.

    `kind` is the implementation (`transformers`, `endpoint`), `version` its version or, of an endpoint, its address and
    model, and `precision` the type it computes in (empty where that is not known). Judgments are compared with each
    other within one kind and precision.
    """

    kind: str
    version: str
    precision: str


@cache
def transformers_identity(precision: str) -> GeneratorIdentity:
    """What `models.generation.transformers_generator` is, without loading it.

    Of the version of transformers it is major and minor: a minor release may change a model's code, its processor or
    what generation defaults to. A patch release mends faults and does not: counting it would judge every model
    again, champions included, for texts that are equal. One that does change a text has stages raise their versions.
    """
    major, minor = version("transformers").split(".")[:2]
    return GeneratorIdentity("transformers", f"{major}.{minor}", precision)


class Generator(Protocol):
    """Turns chat messages with media attached into completions."""

    @property
    def identity(self) -> GeneratorIdentity:
        """What writes."""
        ...

    def generate(
        self,
        conversations: Sequence[list[Message]],
        params: SamplingParams,
        *,
        mode: Mode = "think",
        on_progress: Progress | None = None,
    ) -> list[list[Generated]]:
        """`params.n` completions per conversation, in order.

        A conversation's completions depend on it, on its own seed and on the number of the sample alone: not on what
        else is in the call, in which order, or how many are generated together. `mode` is which prompt the chat
        template writes, see `models.verdict.chat_template`; a text is the whole answer, including what of it is in the
        prompt. `on_progress` receives how many conversations are done, and of how many.
        """
        ...


@runtime_checkable
class StreamingGenerator(Protocol):
    """A generator that passes each completion's text on as it grows."""

    streams: bool

    @property
    def identity(self) -> GeneratorIdentity:
        """What writes."""
        ...

    def generate(
        self,
        conversations: Sequence[list[Message]],
        params: SamplingParams,
        *,
        mode: Mode = "think",
        on_progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[list[Generated]]:
        """See `Generator.generate`; `on_text` is called from the generating thread."""
        ...


class HostedGenerator(StreamingGenerator, Protocol):
    """A streaming generator whose model is in this process."""

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has."""
        ...
