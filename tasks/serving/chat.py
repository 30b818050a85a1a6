"""OpenAI's chat completions over the served model (https://platform.openai.com/docs/api-reference/chat).

`usage` counts the text's tokens; what media take is not in it.
"""

import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

from models.errors import ThinkrewardError
from models.generation.protocol import SamplingParams
from models.judging.request_rows import RequestMedia
from models.judging.reward_model import RewardModel, streamed
from models.verdict.prompts import Message, Part, image_part
from tasks.serving.model_manager import LoadedModel
from tasks.serving.service import Service
from tasks.serving.wire import ChatRequest, ImagePart, TextPart, VideoPart


def completion(loaded: LoadedModel, body: ChatRequest, cancelled: threading.Event) -> dict[str, Any]:
    """The whole answer. Raises `MediaError` for a medium that cannot be used."""
    model = loaded.reward_model(cancelled)
    messages = conversation(body, model)
    (completions,) = model.generator.generate([messages], sampling_params(body, model), mode=body.mode)
    choices = [
        {
            "index": at,
            "message": {"role": "assistant", "content": one.text, "refusal": None},
            "finish_reason": "length" if one.truncated else "stop",
            "logprobs": None,
        }
        for at, one in enumerate(completions)
    ]
    asked, answered = loaded.tokens(_text(messages)), sum(loaded.tokens(one.text) for one in completions)
    usage = {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
    return {**_head(loaded, body, "chat.completion"), "choices": choices, "usage": usage}


async def begin_stream(service: Service, body: ChatRequest) -> AsyncIterator[str]:
    """The answer as server-sent events, a piece each; what is wrong with the request is raised before the first."""
    cancelled, resources = threading.Event(), ExitStack()
    try:
        resources.enter_context(service.limiter.slot())
        loaded = resources.enter_context(service.manager.acquire())
        model = loaded.reward_model(cancelled)
        messages = await service.limiter.in_thread(conversation, body, model)
    except BaseException:
        resources.close()
        raise
    pieces = streamed(model.generator, messages, sampling_params(body, model), mode=body.mode)
    return _events(_head(loaded, body, "chat.completion.chunk"), pieces, service, cancelled, resources)


async def _events(
    head: dict[str, Any], pieces: Iterator[str], service: Service, cancelled: threading.Event, resources: ExitStack
) -> AsyncIterator[str]:
    with resources:
        try:
            yield _event(head, {"role": "assistant", "content": ""})
            while (piece := await service.limiter.in_thread(next, pieces, None)) is not None:
                yield _event(head, {"content": piece})
            yield _event(head, {}, "stop")
        except ThinkrewardError as error:
            kind = {"message": str(error), "type": type(error).__name__, "param": None}
            yield f"data: {json.dumps({'error': kind})}\n\n"
        finally:
            cancelled.set()  # also when the client disconnects in the middle
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


def _head(loaded: LoadedModel, body: ChatRequest, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": body.model or loaded.digest,
        "system_fingerprint": loaded.digest[:12],
    }


def _event(head: dict[str, Any], delta: dict[str, str], reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
