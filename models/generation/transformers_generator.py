"""Batched generation with transformers, on CPU or one GPU.

When a batch fails its conversations are tried one at a time: what cannot be generated is `Generated.refused`, and costs
itself alone. When all fail the error is raised, since then the fault is not theirs.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from models.errors import Cancelled, ThinkrewardError
from models.generation.micro_batches import TokenCounter, by_tokens
from models.generation.protocol import (
    Generated,
    GeneratorIdentity,
    OnText,
    Progress,
    SamplingParams,
    transformers_identity,
)
from models.generation.tokens import placeholder_tokens, stop_tokens, written
from models.media.vision_cache import cached_vision
from models.verdict.chat_template import opening, prompt_text
from models.verdict.grammar import Mode
from models.verdict.prompts import Message, Part
from models.verdict.reachable import UNFINISHED, opens_thinking

logger = logging.getLogger(__name__)


class LocalGenerator:
    """Generates with a model in this process; `batch` is the number of sequences generated together.

    With `micro_tokens`, so many tokens at most are held for them, padding and those yet to be written included, unless
    one conversation needs more.

    Threads may call it at once: one call generates after the other.
    """

    streams = True

    def __init__(self, model: Any, processor: Any, *, batch: int, micro_tokens: int | None = None) -> None:
        self.model = model
        self.processor = processor
        self.batch = batch
        self.micro_tokens = micro_tokens
        self._counter = TokenCounter(processor)
        # Of a model's own generation defaults the ends are used alone: the others (top-p, penalties) would change what
        # greedy and temperature 1.0 mean.
        self.ends = stop_tokens(model, processor)
        self.never = placeholder_tokens(model, processor)
        self.pad = processor.tokenizer.pad_token_id
        self._lock = threading.Lock()

    @property
    def identity(self) -> GeneratorIdentity:
        """See `Generator.identity`."""
        return transformers_identity(str(self.model.dtype).removeprefix("torch."))

    def count_tokens(self, text: str) -> int:
        """See `HostedGenerator.count_tokens`."""
        return len(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def generate(
        self,
        conversations: Sequence[list[Message]],
        params: SamplingParams,
        *,
        mode: Mode = "think",
        on_progress: Progress | None = None,
        on_text: OnText | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> list[list[Generated]]:
        """See `Generator.generate`. Prompts of like length share a batch, whatever their order.

        Sampled texts are those of `models.generation.seeded`, whatever `batch` is.

        `on_text` receives each completion's text as it grows. `is_cancelled` is called before each batch and token;
        once it is true, `Cancelled` is raised.
        """
        import torch

        from models.generation.seeded import row_seed

        texts = [prompt_text(self.processor, c, mode) for c in conversations]
        begun = opening(self.processor, mode)
        media = [
            [part for m in c for part in m["content"] if part["type"] in ("image", "video")] for c in conversations
        ]
        results: list[list[Generated]] = [[] for _ in texts]
        seeds = params.seeds(len(texts))
        failures: list[Exception] = []
        done = 0
        # A trainer that validates keeps its own random state.
        with self._lock, torch.random.fork_rng(), cached_vision(self.model):
            for rows in self._batches(texts, media, params):

                def batch(some: Sequence[int]) -> list[list[Generated]]:
                    shown = [texts[at] for at in some], [part for at in some for part in media[at]]
                    streams = [row_seed(seeds[at], texts[at], sample) for at in some for sample in range(params.n)]
                    watch = _Watch(self, some, params, mode, begun, on_text, is_cancelled)
                    return self._generate_batch(*shown, params, streams, watch)

                for at, result in zip(rows, each_alone_on_failure(batch, rows), strict=True):
                    results[at] = result if isinstance(result, list) else [refusal(result)] * params.n
                    failures += [] if isinstance(result, list) else [result]
                done += len(rows)
                if on_progress is not None:
                    on_progress(done, len(texts))
        if failures and len(failures) == len(results):
            raise failures[0]
        return results

    def _batches(self, texts: list[str], media: list[list[Part]], params: SamplingParams) -> list[list[int]]:
        """The conversations that are generated together, by their places."""
        rows = max(1, self.batch // params.n)
        if self.micro_tokens is not None:
            lengths = [(self._tokens(*one), params.max_tokens) for one in zip(texts, media, strict=True)]
            return by_tokens(lengths, tokens=self.micro_tokens // params.n, rows=rows)
        frames = [sum(len(part.get("video", "1")) for part in parts) for parts in media]
        order = sorted(range(len(texts)), key=lambda at: (frames[at], len(texts[at]), at))
        return [order[start : start + rows] for start in range(0, len(order), rows)]

    def _tokens(self, text: str, parts: list[Part]) -> int:
        images = [part["image"] for part in parts if part["type"] == "image"]
        return self._counter.count(text, images, [part["video"] for part in parts if part["type"] == "video"])

    def _generate_batch(
        self,
        texts: list[str],
        media: list[Part],
        params: SamplingParams,
        streams: list[int],
        watch: "_Watch",
    ) -> list[list[Generated]]:
        from models.generation.decoding.loop import Decoding
        from models.generation.seeded import SeededSampling

        watch.check()
        inputs = self.processor(
            text=texts,
            images=[part["image"] for part in media if part["type"] == "image"] or None,
            **_videos([part for part in media if part["type"] == "video"]),
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(self.model.device)
        decoding = Decoding(
            samples=params.n,
            max_tokens=params.max_tokens,
            stops=self.ends,
            pad=self.pad,
            never=self.never,
            streams=SeededSampling(streams, params.temperature) if params.temperature > 0 else None,
            on_tokens=watch.on_tokens,
            is_over=watch.is_over if watch.stops_malformed else None,
        )
        tokens = decoding.run(self.model, dict(inputs))
        rows, ended = zip(*(written(row, self.ends) for row in tokens), strict=True)
        decoded = self.processor.tokenizer.batch_decode(list(rows), skip_special_tokens=True)
        flat_out = [
            Generated(f"{watch.begun}{text}".strip(), truncated=not done and len(row) >= params.max_tokens)
            for text, row, done in zip(decoded, rows, ended, strict=True)
        ]
        return [flat_out[row * params.n : (row + 1) * params.n] for row in range(len(texts))]


def each_alone_on_failure(
    batch: Callable[[Sequence[int]], list[list[Generated]]], rows: Sequence[int]
) -> list[list[Generated] | Exception]:
    """What `batch` makes of the rows together; if that fails, of each row alone, and the error of each that fails.

    Errors with a name of ours, which no single row causes, and memory that does not suffice are raised.
    """
    import torch

    fatal = (ThinkrewardError, MemoryError, torch.OutOfMemoryError)
    try:
        return list(batch(rows))
    except fatal:
        raise
    except Exception as error:  # noqa: BLE001  (whatever a processor or a model raises for one member)
        if len(rows) == 1:
            return [error]
        logger.warning("a batch of %d failed (%s); each is tried alone", len(rows), type(error).__name__)
    found: list[list[Generated] | Exception] = []
    for row in rows:
        found += each_alone_on_failure(batch, [row])
    return found


def refusal(error: Exception) -> Generated:
    """No completion, because of this error."""
    return Generated("", truncated=False, refused=f"{type(error).__name__}: {error}".split("\n")[0][:200])


class _Watch:
    """What is done with the tokens of a batch as they are written: texts are passed on, and some need not go on.

    `begun` is what of each answer is in its prompt.
    """

    def __init__(
        self,
        generator: LocalGenerator,
        conversations: Sequence[int],
        params: SamplingParams,
        mode: Mode,
        begun: str,
        on_text: OnText | None,
        is_cancelled: Callable[[], bool] | None,
    ) -> None:
        self.tokenizer = generator.processor.tokenizer
        self.stops = generator.ends
        self.begun = begun
        self.places = [(at, sample) for at in conversations for sample in range(params.n)]
        self.on_text = on_text
        self.is_cancelled = is_cancelled
        self.stops_malformed = params.stop_malformed and mode == "think" and not opens_thinking(begun)
        self.opened = [False] * len(self.places)
        self.tokens: list[list[int]] = [[] for _ in self.places]
        self.sent = [""] * len(self.places)

    def check(self) -> None:
        """Raise `Cancelled` once nobody waits for the batch."""
        if self.is_cancelled is not None and self.is_cancelled():
            raise Cancelled("nobody waits for this answer any more")

    def on_tokens(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """See `Decoding.on_tokens`."""
        self.check()
        if self.on_text is None:
            return
        for row, token in zip(rows, tokens, strict=True):
            if self.begun and not self.tokens[row]:
                self.on_text(*self.places[row], self.begun)
            self.tokens[row].append(token)
            if token in self.stops:
                continue
            text = self.tokenizer.decode(self.tokens[row], skip_special_tokens=True)
            if text != self.sent[row] and not text.endswith(UNFINISHED):
                self.on_text(*self.places[row], text[len(self.sent[row]) :])
                self.sent[row] = text

    def is_over(self, row: int, tokens: Sequence[int]) -> bool:
        """See `Decoding.is_over`: whether no reading of verdicts takes what begins so."""
        if self.opened[row]:
            return False
        opens = opens_thinking(self.begun + self.tokenizer.decode(tokens, skip_special_tokens=True))
        self.opened[row] = opens is True
        return opens is False


def _videos(parts: list[Part]) -> dict[str, Any]:
    """The processor's arguments for videos that are sampled already, with the times of their frames."""
    if not parts:
        return {}
    clips = [part["video"] for part in parts]
    times = [
        {"fps": part["rate"], "total_num_frames": len(clip), "frames_indices": list(range(len(clip)))}
        for part, clip in zip(parts, clips, strict=True)
    ]
    return {"videos": clips, "video_metadata": times, "do_sample_frames": False}
