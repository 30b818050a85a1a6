"""The domain's nouns: a task, a medium, a candidate and a judged pair of candidates.

All are frozen and validated, and carry their own symmetries: `PreferencePair.swapped()` is the only
place where a pair's presentation order is swapped.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Preferred = Literal[1, 2, "tie"]
# What is trained on; what chooses a checkpoint or a threshold; what judges, and nothing else.
Split = Literal["train", "validation", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "validation", "held_out")


def swapped_preference(preferred: Preferred) -> Preferred:
    """A label or an answer when the candidates change places.

    >>> [swapped_preference(choice) for choice in (1, 2, "tie")]
    [2, 1, 'tie']
    """
    return "tie" if preferred == "tie" else (2 if preferred == 1 else 1)


def agree(given: Preferred | None, swapped: Preferred | None) -> bool:
    """Whether the answers in both presentation orders name the same candidate, or a tie both; None names none.

    >>> agree(1, 2), agree("tie", "tie"), agree(1, 1), agree(None, None)
    (True, True, False, False)
    """
    return given is not None and swapped is not None and given == swapped_preference(swapped)


class Task(StrEnum):
    """The four judging tasks (arXiv 2505.03318, section 3)."""

    IMAGE_GENERATION = "image_generation"
    IMAGE_UNDERSTANDING = "image_understanding"
    VIDEO_GENERATION = "video_generation"
    VIDEO_UNDERSTANDING = "video_understanding"

    @property
    def judges_media(self) -> bool:
        """Whether the candidates are images or videos (generation) rather than texts."""
        return self in (Task.IMAGE_GENERATION, Task.VIDEO_GENERATION)

    @property
    def media_kind(self) -> Literal["image", "video"]:
        """The kind of medium this task shows."""
        return "image" if self in (Task.IMAGE_GENERATION, Task.IMAGE_UNDERSTANDING) else "video"


class Frozen(BaseModel):
    """Base of the nouns: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Media(Frozen):
    """One image or video; `uri` is relative to its dataset, `sha256` is of its bytes."""

    kind: Literal["image", "video"]
    uri: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Candidate(Frozen):
    """What is judged: a text or a medium, never both and never neither."""

    text: str | None = None
    media: Media | None = None

    @model_validator(mode="after")
    def _text_xor_media(self) -> Self:
        if (self.text is None) == (self.media is None):
            raise ValueError("a candidate is either a text or a medium: give exactly one of the two")
        if self.text is not None and not self.text.strip():
            raise ValueError("a candidate's text is empty: leave the pair out or give the answer")
        return self


class PreferencePair(Frozen):
    """Two candidates for one prompt and which of them people (or construction) prefer.

    `context` holds the media that both candidates are about (understanding tasks only); `group` is
    the slice that results are broken down by; `source` names where the pair came from.
    """

    id: str = Field(min_length=1)
    task: Task
    prompt: str = Field(min_length=1)
    context: tuple[Media, ...] = ()
    candidates: tuple[Candidate, Candidate]
    preferred: Preferred
    source: str = Field(min_length=1)
    group: str = ""

    @model_validator(mode="after")
    def _fits_its_task(self) -> Self:
        kind = self.task.media_kind
        if self.task.judges_media:
            if self.context:
                raise ValueError(f"{self.task} takes no context media, got {len(self.context)}")
            for candidate in self.candidates:
                if candidate.media is None or candidate.media.kind != kind:
                    raise ValueError(f"{self.task} compares two {kind}s: give each candidate a {kind}")
            return self
        if any(candidate.text is None for candidate in self.candidates):
            raise ValueError(f"{self.task} compares two texts: give each candidate a text")
        if not self.context or any(media.kind != kind for media in self.context):
            raise ValueError(f"{self.task} needs its {kind} as context")
        if kind == "video" and len(self.context) != 1:
            raise ValueError(f"{self.task} takes one video as context, got {len(self.context)}")
        return self

    def swapped(self) -> "PreferencePair":
        """The same pair with its candidates swapped, and the label with them."""
        first, second = self.candidates
        return self.model_copy(update={"candidates": (second, first), "preferred": swapped_preference(self.preferred)})

    def with_texts(self, change: Callable[[str], str]) -> "PreferencePair":
        """The same pair with its caption or question, and its answers, changed."""
        candidates = tuple(one.model_copy(update={"text": one.text and change(one.text)}) for one in self.candidates)
        return self.model_copy(update={"prompt": change(self.prompt), "candidates": candidates})

    def media(self) -> tuple[Media, ...]:
        """Every medium this pair shows, in the order it is shown."""
        return self.context + tuple(c.media for c in self.candidates if c.media is not None)
