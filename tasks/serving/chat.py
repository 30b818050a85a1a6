"""OpenAI's chat completions over the served model (https://platform.openai.com/docs/api-reference/chat).

`usage` counts the text's tokens; what media take is not in it.
"""

import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from models.errors import ThinkrewardError
from models.generation.protocol import SamplingParams
from models.judging.request_rows import RequestMedia
from models.judging.reward_model import RewardModel, streamed
from models.verdict.prompts import Message, Part, image_part
from tasks.serving.model_manager import LoadedModel
from tasks.serving.wire import ChatRequest, ImagePart, TextPart, VideoPart

if TYPE_CHECKING:
    from tasks.serving.app import Service


def completion(served: LoadedModel, body: ChatRequest, given_up: threading.Event) -> dict[str, Any]:
    """The whole answer. Raises `MediaError` for a medium that cannot be used."""
    model = served.reward_model(given_up)
    messages = conversation(body, model)
    (said,) = model.generator.generate([messages], sampling_params(body, model), mode=body.mode)
    choices = [
        {
            "index": at,
            "message": {"role": "assistant", "content": one.text, "refusal": None},
            "finish_reason": "length" if one.truncated else "stop",
            "logprobs": None,
        }
        for at, one in enumerate(said)
    ]
    asked, answered = served.tokens(_text(messages)), sum(served.tokens(one.text) for one in said)
    usage = {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
    return {**_head(served, body, "chat.completion"), "choices": choices, "usage": usage}


async def begin_stream(service: "Service", body: ChatRequest) -> AsyncIterator[str]:
    """The answer as server-sent events, a piece each; what is wrong with the request is raised before the first."""
    given_up, held = threading.Event(), ExitStack()
    try:
        held.enter_context(service.limiter.slot())
        served = held.enter_context(service.holder.acquire())
        model = served.reward_model(given_up)
        messages = await service.limiter.in_thread(conversation, body, model)
    except BaseException:
        held.close()
        raise
    pieces = streamed(model.generator, messages, sampling_params(body, model), mode=body.mode)
    return _events(_head(served, body, "chat.completion.chunk"), pieces, service, given_up, held)


async def _events(
    head: dict[str, Any], pieces: Iterator[str], service: "Service", given_up: threading.Event, held: ExitStack
) -> AsyncIterator[str]:
    with held:
        try:
            yield _event(head, {"role": "assistant", "content": ""})
            while (piece := await service.limiter.in_thread(next, pieces, None)) is not None:
                yield _event(head, {"content": piece})
            yield _event(head, {}, "stop")
        except ThinkrewardError as error:
            kind = {"message": str(error), "type": type(error).__name__, "param": None}
            yield f"data: {json.dumps({'error': kind})}\n\n"
        finally:
            given_up.set()  # also when the caller hangs up in the middle
    yield "data: [DONE]\n\n"


def sampling_params(body: ChatRequest, model: RewardModel) -> SamplingParams:
    """How the answer is drawn: as the request has it, within the model's own limit of tokens."""
    longest = min(body.max_completion_tokens or body.max_tokens or model.max_tokens, model.max_tokens)
    return SamplingParams(n=body.n, temperature=body.temperature, max_tokens=longest, seed=body.seed)


def conversation(body: ChatRequest, model: RewardModel) -> list[Message]:
    """The messages with their media decoded within the model's caps."""
    found: list[Message] = []
    media = model.media()
    for number, message in enumerate(body.messages):
        parts: list[Part] = []
        for at, part in enumerate([] if isinstance(message.content, str) else message.content):
            parts += _filled(part, media, f"messages.{number}.content.{at}")
        if isinstance(message.content, str):
            parts = [{"type": "text", "text": message.content}]
        found.append({"role": message.role, "content": parts})
    return found


def _filled(part: TextPart | ImagePart | VideoPart, media: RequestMedia, where: str) -> list[Part]:
    if isinstance(part, TextPart):
        return [{"type": "text", "text": part.text}]
    kind, url = ("image", part.image_url) if isinstance(part, ImagePart) else ("video", part.video_url)
    return [image_part(frame) for frame in media.frames(media.read(url.url, kind, where, asked_by=part.type))]


def _text(messages: list[Message]) -> str:
    return "\n".join(part["text"] for message in messages for part in message["content"] if part["type"] == "text")


def _head(served: LoadedModel, body: ChatRequest, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": body.model or served.digest,
        "system_fingerprint": served.digest[:12],
    }


def _event(head: dict[str, Any], delta: dict[str, str], reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
