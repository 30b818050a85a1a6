"""A generator for tests that only need texts: each is what `answer` makes of a conversation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from models.generation.protocol import (
    Generated,
    Generator,
    GeneratorIdentity,
    OnText,
    Progress,
    SamplingParams,
    StreamingGenerator,
)
from models.verdict.grammar import Mode
from models.verdict.prompts import Message

Answer = Callable[[list[Message], int], str]  # of a conversation and the number of the sample


@dataclass(frozen=True)
class Call:
    """What one call of `generate` was given."""

    conversations: list[list[Message]]
    params: SamplingParams
    mode: Mode


class FakeGenerator:
    """Answers with `answer`, which subclasses may override instead, and notes its calls."""

    identity = GeneratorIdentity("fake", "1", "")

    def __init__(self, answer: Answer | None = None) -> None:
        self.calls: list[Call] = []
        self._answer = answer

    @property
    def conversations(self) -> list[list[Message]]:
        """Of all calls."""
        return [conversation for call in self.calls for conversation in call.conversations]

    def answer(self, conversation: list[Message], sample: int) -> str:
        """The text of one completion."""
        assert self._answer is not None
        return self._answer(conversation, sample)

    def complete(self, conversation: list[Message], sample: int) -> Generated:
        """One completion."""
        return Generated(self.answer(conversation, sample), truncated=False)

    def generate(
        self,
        conversations: Sequence[list[Message]],
        params: SamplingParams,
        *,
        mode: Mode = "think",
        on_progress: Progress | None = None,
    ) -> list[list[Generated]]:
        """See `Generator.generate`."""
        self.calls.append(Call(list(conversations), params, mode))
        if on_progress is not None:
            on_progress(len(conversations), len(conversations))
        return [[self.complete(one, sample) for sample in range(params.n)] for one in conversations]


class FakeStreamingGenerator(FakeGenerator):
    """Passes each text on letter by letter."""

    streams = True

    def generate(
        self,
        conversations: Sequence[list[Message]],
        params: SamplingParams,
        *,
        mode: Mode = "think",
        on_progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[list[Generated]]:
        """See `StreamingGenerator.generate`."""
        completions = super().generate(conversations, params, mode=mode, on_progress=on_progress)
        if on_text is not None:
            for at, samples in enumerate(completions):
                for sample, done in enumerate(samples):
                    for letter in done.text:
                        on_text(at, sample, letter)
        return completions


def last_text(conversation: list[Message]) -> str:
    """The text of a conversation's last message."""
    return "".join(part.get("text", "") for part in conversation[-1]["content"])


def shades(conversation: list[Message]) -> list[int]:
    """The brightness of the first pixel of each image, 0 to 255."""
    images = [part["image"] for part in conversation[0]["content"] if part["type"] == "image"]
    return [image.convert("L").getpixel((0, 0)) for image in images]


def brighter(conversation: list[Message], sample: int) -> str:
    """A direct answer for the brighter of two images."""
    first, second = shades(conversation)
    return f"Image {1 if first > second else 2} is better"


def more_x(conversation: list[Message], sample: int) -> str:
    """A direct answer for the answer with more of the letter x."""
    first, second = last_text(conversation).rsplit("Answer 1", 1)[1].split("Answer 2", 1)
    return f"Answer {1 if first.count('x') > second.count('x') else 2} is better"


def batch_shapes(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The rows and the prompt's width of each batch that a model generates from now on."""
    shapes: list[tuple[int, int]] = []
    inner = model.generate

    def noted(**inputs: Any) -> Any:
        shapes.append(tuple(inputs["input_ids"].shape))
        return inner(**inputs)

    monkeypatch.setattr(model, "generate", noted)
    return shapes


# The type checker holds both to the protocols.
_generator: Generator = FakeGenerator()
_streaming: StreamingGenerator = FakeStreamingGenerator()
