"""The embedded teacher without its faults, as a judge: the ceiling of what pixels and words can say of this world.

It answers as the teacher does (`teacher_answers`), in this process and without requests that fail. It is given the
messages that models are given, and so never sees a label.
"""

from collections.abc import Sequence

from models.generation.protocol import Generated, GeneratorIdentity, Progress, SamplingParams
from models.shapes.teacher_answers import BadRequest, answer_faultlessly
from models.verdict.grammar import Mode
from models.verdict.prompts import Message

IDENTITY = GeneratorIdentity("embedded", "1", "")  # its version: raise it when it would answer otherwise


class EmbeddedOracle:
    """A `Generator` that reads pixels. It reasons in both modes, since it knows no other way to an answer."""

    @property
    def identity(self) -> GeneratorIdentity:
        """See `Generator.identity`."""
        return IDENTITY

    def generate(
        self,
        conversations: Sequence[list[Message]],
        params: SamplingParams,
        *,
        mode: Mode = "think",
        on_progress: Progress | None = None,
    ) -> list[list[Generated]]:
        """One verdict a conversation, `params.n` times; a conversation that is not of this world is refused."""
        answers = []
        for done, (messages, seed) in enumerate(
            zip(conversations, params.seeds(len(conversations)), strict=True), start=1
        ):
            answers.append([_answer(messages, seed)] * params.n)
            if on_progress is not None:
                on_progress(done, len(conversations))
        return answers


def _answer(messages: list[Message], seed: int) -> Generated:
    try:
        return Generated(answer_faultlessly(messages, seed), truncated=False)
    except BadRequest as error:
        return Generated("", truncated=False, refused=str(error))
