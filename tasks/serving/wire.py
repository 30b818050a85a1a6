"""What travels between the service and its callers: requests, answers and errors, as the OpenAPI document shows them.

Media are base64 text or data URLs, a video also the list of its frames. Nothing is fetched and no file is read:
callers learn nothing of this machine.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from models.judging.ranking import MAX_CANDIDATES
from models.pairs.preference import Preferred, Task
from models.verdict.grammar import Mode

MAX_TEXT = 32_768  # characters of a caption, a question or an answer
MAX_SAMPLES = 8


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_not_blank)]
Encoded = Annotated[str, Field(min_length=1)]
EncodedFrames = Annotated[list[Encoded], Field(min_length=1, max_length=1024)]
# Distinguished by their form, so that an error in a list of frames names it.
Medium = Annotated[
    Annotated[Encoded, Tag("encoded")] | Annotated[EncodedFrames, Tag("frames")],
    Discriminator(lambda given: "frames" if isinstance(given, list) else "encoded"),
]


def _check_texts(task: Task, candidates: dict[str, Medium]) -> None:
    """An answer has the limits of a text; only the task distinguishes it from an encoded medium."""
    for name, candidate in candidates.items():
        if not task.judges_media and len(candidate) > MAX_TEXT:
            raise ValueError(f"{name} has {len(candidate)} characters, above the limit of {MAX_TEXT}: shorten it")


class Strict(BaseModel):
    """No unknown fields, so that a mistyped one is refused."""

    model_config = ConfigDict(extra="forbid")


class CompareRequest(Strict):
    """Two candidates for one prompt: texts for understanding tasks, media for generation tasks."""

    task: Task = Field(description="what is compared")
    prompt: Text = Field(description="the caption, or the question")
    candidate_1: Medium = Field(description="the first text, image or video: base64, a data URL, or a video's frames")
    candidate_2: Medium = Field(description="the second")
    media: Medium | None = Field(None, description="the image or video that two answers are about")
    mode: Mode = Field("think", description="think: scored dimensions first; direct: the answer alone")
    both_orders: bool = Field(True, description="ask in both presentation orders, and report whether they agree")

    @model_validator(mode="after")
    def _texts_are_short(self) -> Self:
        _check_texts(self.task, {"candidate_1": self.candidate_1, "candidate_2": self.candidate_2})
        return self

    def row(self) -> dict[str, Any]:
        """As models/judging/request_rows.py takes it."""
        return self.model_dump(include={"task", "prompt", "candidate_1", "candidate_2", "media"})


class CompareResponse(BaseModel):
    """The answer to one comparison; models/judging/request_rows.py describes the fields."""

    preferred: Preferred | None
    valid: bool
    fault: str | None
    mode: Mode
    text: str
    dimensions: list[str]
    scores_1: list[int]
    scores_2: list[int]
    rationales: list[list[str]]
    total_1: int | None
    total_2: int | None
    margin: int | None
    sums_agree: bool
    answer_agrees: bool
    both_orders_agree: bool | None = None
    model: str = Field(description="the digest of the model that answered")


class RankRequest(Strict):
    """Several candidates for one prompt."""

    task: Task
    prompt: Text
    candidates: Annotated[list[Medium], Field(min_length=2, max_length=MAX_CANDIDATES)]
    media: Medium | None = Field(None, description="the image or video that the answers are about")
    mode: Mode = "think"
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="that the first is the best")
    most: Annotated[int, Field(ge=1)] | None = Field(None, description="comparisons at most, each in both orders")

    @model_validator(mode="after")
    def _texts_are_short(self) -> Self:
        _check_texts(self.task, {f"candidates.{at}": one for at, one in enumerate(self.candidates)})
        return self


class Ranked(BaseModel):
    """One candidate: its place in the request from 0, its Bradley-Terry strength and its win rate."""

    candidate: int
    strength: float
    low: float
    high: float
    win_rate: float | None


class RankResponse(BaseModel):
    """The candidates, best first."""

    ranking: list[Ranked]
    comparisons: int
    confident: bool
    model: str


class Url(BaseModel):
    """Where a part's medium is: in the data URL itself."""

    url: Encoded


class TextPart(BaseModel):
    """A part that is text."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=2 * MAX_TEXT)]


class ImagePart(BaseModel):
    """A part that is an image."""

    type: Literal["image_url"]
    image_url: Url


class VideoPart(BaseModel):
    """A part that is a video."""

    type: Literal["video_url"]
    video_url: Url


ContentPart = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]


class ChatMessage(BaseModel):
    """One message: its text, or its parts."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(max_length=2 * MAX_TEXT)] | list[ContentPart]


class ChatTemplateArguments(BaseModel):
    """What vLLM passes on to the chat template; of it the one that a thinking model's has."""

    enable_thinking: bool = Field(
        True, description="false: the answer alone, any thinking block is closed in the prompt"
    )


class ChatRequest(BaseModel):
    """OpenAI's chat completion, as far as a judge needs it; what it does not know is let pass unless it is below."""

    model: Annotated[str, Field(max_length=256)] | None = Field(
        None, description="the name that is served, or the digest of its model; nothing means it too"
    )
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=64)]
    max_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    n: Annotated[int, Field(ge=1, le=MAX_SAMPLES)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    stream: bool = False
    chat_template_kwargs: ChatTemplateArguments = ChatTemplateArguments()
    top_p: Annotated[float, Field(ge=1, le=1)] | None = Field(None, description="1 alone: nothing is cut off")
    stop: None = Field(None, description="not supported")
    tools: None = Field(None, description="not supported")

    @property
    def mode(self) -> Mode:
        """Which prompt the chat template is to write."""
        return "think" if self.chat_template_kwargs.enable_thinking else "direct"

    @model_validator(mode="after")
    def _one_stream(self) -> Self:
        if self.stream and self.n > 1:
            raise ValueError(f"n is {self.n} and stream is true: one answer alone can be streamed, set n=1")
        return self


class Problem(BaseModel):
    """What went wrong, and what to do."""

    message: str
    type: str
    param: str | None = None


class ErrorResponse(BaseModel):
    """Every answer that is no success, in the form of OpenAI's errors."""

    error: Problem
