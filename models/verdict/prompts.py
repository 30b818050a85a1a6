"""The one place where a pair becomes chat messages, and where media become message parts.

`chat` gives messages in OpenAI content-part form whose media are still references; `attach` fills
them in, for an HTTP endpoint or for a transformers processor. Teacher, trainers, sampler, benchmarks
and server all come through here, so that training and evaluation cannot drift apart. A wording other than our own is
for judges that were trained on it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from PIL.Image import Image

from models.media.frames import data_url
from models.pairs.preference import Candidate, Media, PreferencePair
from models.verdict.grammar import Mode, candidate_names
from models.verdict.instructions import instructions
from models.verdict.quoting import escape_control_tokens, quoted
from models.verdict.wordings import unified_reward_think

Message = dict[str, Any]
Part = dict[str, Any]
Wording = Literal["thinkreward", "unified_reward_think", "unified_reward_think_qwen3vl"]

RELEASES: dict[Wording, unified_reward_think.Release] = {
    "unified_reward_think": "qwen25",
    "unified_reward_think_qwen3vl": "qwen3vl",
}

PROMPT_LABEL = {True: "Caption", False: "Question"}


def chat(pair: PreferencePair, mode: Mode, wording: Wording = "thinkreward") -> list[Message]:
    """The request for one verdict: a single user message of text parts and media references.

    Captions, questions and answers are quoted: they are somebody else's, and may try to dictate the verdict.
    Texts end their line unless a medium follows them: chat templates put parts one after the other as they are.
    A medium is `{"type": "image_url" | "video_url", …: {"url": uri}}`, with its uri as the dataset has it.
    The label never enters. A released checkpoint's wording has all media first and one text after them; it raises
    `ConfigError` where that wording is not to be had (`models/verdict/wordings/unified_reward_think.py`).
    """
    if wording != "thinkreward":
        words = unified_reward_think.text(pair.with_texts(escape_control_tokens), mode, RELEASES[wording])
        return [{"role": "user", "content": [*map(_reference, pair.media()), _text(words)]}]
    parts: list[Part] = [_text(f"{instructions(pair.task, mode)}\n")]
    parts += [_reference(media) for media in pair.context]
    parts.append(_text(f"{PROMPT_LABEL[pair.task.judges_media]}: {quoted(pair.prompt)}\n"))
    for name, candidate in zip(candidate_names(pair.task), pair.candidates, strict=True):
        parts += _candidate(name, candidate)
    return [{"role": "user", "content": parts}]


def attach(messages: list[Message], part_of: Callable[[str], list[Part]]) -> list[Message]:
    """Replace each media reference by what `part_of(uri)` makes of it: one image, a video, or a video's frames."""
    return [
        {**message, "content": [new for part in message["content"] for new in _filled(part, part_of)]}
        for message in messages
    ]


def with_images(pair: PreferencePair, mode: Mode, frames: Callable[[str], list[Image]]) -> list[Message]:
    """The request for a pair with its decoded `frames(uri)`, as transformers chat templates take it."""
    return attach(chat(pair, mode), lambda uri: [image_part(frame) for frame in frames(uri)])


def with_data_urls(pair: PreferencePair, mode: Mode, frames: Callable[[str], list[Image]]) -> list[Message]:
    """The request for a pair with its `frames(uri)` as data URLs, as OpenAI-compatible endpoints take it."""
    return attach(chat(pair, mode), lambda uri: [data_url_part(data_url(frame)) for frame in frames(uri)])


def image_part(image: object) -> Part:
    """A decoded image as a transformers chat template takes it."""
    return {"type": "image", "image": image}


def video_part(frames: Sequence[object], rate: float) -> Part:
    """Sampled frames as a transformers chat template takes a video; `rate` is how many there are a second."""
    return {"type": "video", "video": list(frames), "rate": rate}


def data_url_part(url: str) -> Part:
    """An encoded image (`data:image/png;base64,…`) as an OpenAI-compatible endpoint takes it."""
    return {"type": "image_url", "image_url": {"url": url}}


def _candidate(name: str, candidate: Candidate) -> list[Part]:
    if candidate.media is not None:
        return [_text(f"{name}:"), _reference(candidate.media)]
    return [_text(f"{name}: {quoted(str(candidate.text))}\n")]


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _reference(media: Media) -> Part:
    kind = f"{media.kind}_url"
    return {"type": kind, kind: {"url": media.uri}}


def _filled(part: Part, part_of: Callable[[str], list[Part]]) -> list[Part]:
    if part["type"] == "text":
        return [part]
    return part_of(part[part["type"]]["url"])
