"""Judging pairs with any generator: thinking or direct, sampled or greedy, in one or both presentation orders."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from PIL import Image

from models.errors import MediaError
from models.generation.protocol import Generated, Generator, OnText, Progress, SamplingParams, StreamingGenerator
from models.media.frame_cache import bytes_of
from models.pairs.preference import PreferencePair, Preferred
from models.verdict.grammar import Malformed, Mode, Verdict
from models.verdict.parsing import parse_verdict
from models.verdict.prompts import Message, Part, Wording, attach, chat, image_part, video_part

FindFrames = Callable[[str], list[Image.Image]]
Seconds = Callable[[str], float]
HELD_BYTES = 256 * 2**20  # of decoded frames that wait for their generation together
GREEDY = SamplingParams(max_tokens=1024)
UNKNOWN_RATE = 2.0  # frames a second of a video without times: what Qwen-VL processors sample at by default


@dataclass(frozen=True)
class Judgment:
    """One completion for one pair, as the pair was presented (`swapped`: with the candidates swapped)."""

    pair: PreferencePair
    mode: Mode
    swapped: bool
    sample: int
    text: str
    truncated: bool
    verdict: Verdict | Malformed
    refused: str = ""  # why nothing was written: see `Generated.refused`, or the medium that cannot be decoded

    @property
    def valid(self) -> bool:
        """Whether the text follows the grammar."""
        return isinstance(self.verdict, Verdict)

    @property
    def preferred(self) -> Preferred | None:
        """The answer in presented order; `None` if the text is malformed."""
        return self.verdict.preferred if isinstance(self.verdict, Verdict) else None

    @property
    def correct(self) -> bool:
        """Whether the answer equals the label. A malformed text is not correct."""
        return self.preferred == self.pair.preferred


def sampling_seed(seed: int, pair: PreferencePair, mode: Mode) -> int:
    """The seed of a pair's samples as presented, 63 bits: from `seed`, its id, its candidates' order and the mode.

    It does not depend on what else is judged, nor on the label.
    """
    shown = [one.media.sha256 if one.media is not None else one.text for one in pair.candidates]
    identity = json.dumps([seed, pair.id, shown, mode])
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") >> 1


class Judge:
    """Judges pairs; `frames` finds the decoded frames of a medium by its uri, `wording` is how they are asked for.

    With `seconds`, which finds how long a medium lasts (0: unknown), the generator is given videos as such, else as
    images, one a frame. A video of one frame is an image.
    """

    def __init__(
        self,
        generator: Generator,
        frames: FindFrames,
        wording: Wording = "thinkreward",
        seconds: Seconds | None = None,
    ) -> None:
        self.generator = generator
        self.frames = frames
        self.wording: Wording = wording
        self.seconds = seconds

    def judge(
        self,
        pairs: Sequence[PreferencePair],
        mode: Mode = "think",
        params: SamplingParams = GREEDY,
        *,
        both_orders: bool = False,
        on_progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[Judgment]:
        """Judgments pair by pair, as given before swapped, then by sample.

        `on_text(place, sample, piece)` receives the texts as they are written, if the generator streams; `place` counts
        pairs and orders as the judgments do. Samples depend on the pair, the order it is shown in, `mode` and `params`,
        and not on what else is judged. A pair with a medium that cannot be decoded has judgments that are `refused`;
        when no pair can be decoded the first one's `MediaError` is raised. At most `HELD_BYTES` of frames are asked
        about at a time. Raises `ValueError` for several seeds: each pair's own is derived from one.
        """
        if not isinstance(params.seed, int):
            raise ValueError(f"{len(params.seed)} seeds: give one, from which the seed of each pair is derived")
        orders = (False, True) if both_orders else (False,)
        shown = [(pair.swapped() if swapped else pair, swapped) for pair in pairs for swapped in orders]
        completions: dict[int, list[Generated]] = {}
        failed: list[MediaError] = []
        for part in self._parts_of([pair for pair, _ in shown], mode):
            for at in [at for at, one in part.items() if isinstance(one, MediaError)]:
                failed.append(cast("MediaError", part.pop(at)))
                completions[at] = [Generated("", truncated=False, refused=f"media: {failed[-1].reason}")] * params.n
            if not part:
                continue
            options: dict[str, Any] = {}
            if on_text is not None and isinstance(self.generator, StreamingGenerator):
                options["on_text"] = partial(_relocated, on_text, list(part))
            generated = self.generator.generate(
                [cast("list[Message]", one) for one in part.values()],
                replace(params, seed=[sampling_seed(params.seed, shown[at][0], mode) for at in part]),
                mode=mode,
                on_progress=on_progress and partial(_further, on_progress, min(part), len(shown)),
                **options,
            )
            completions.update(zip(part, generated, strict=True))
            part.clear()  # its frames, before the next part is decoded
        if failed and len(failed) == len(shown):
            raise failed[0]
        return [
            Judgment(
                pair,
                mode,
                swapped,
                sample,
                done.text,
                done.truncated,
                parse_verdict(done.text, pair.task, mode=mode),
                done.refused,
            )
            for at, (pair, swapped) in enumerate(shown)
            for sample, done in enumerate(completions[at])
        ]

    def _parts_of(self, pairs: Sequence[PreferencePair], mode: Mode) -> Iterator[dict[int, list[Message] | MediaError]]:
        """What is asked about the pairs, by their places, in parts whose frames are in memory together.

        A part holds `HELD_BYTES` of them, those of its last conversation beyond that, and each frame once.
        """
        part: dict[int, list[Message] | MediaError] = {}
        held: dict[int, int] = {}
        for at, pair in enumerate(pairs):
            part[at] = messages = self._conversation(pair, mode)
            if not isinstance(messages, MediaError):
                held.update({id(frame): bytes_of([frame]) for frame in _frames_of(messages)})
            if sum(held.values()) >= HELD_BYTES:
                yield part
                part, held = {}, {}
        if part:
            yield part

    def _conversation(self, pair: PreferencePair, mode: Mode) -> list[Message] | MediaError:
        try:
            return self.conversation(pair, mode)
        except MediaError as error:
            return error

    def conversation(self, pair: PreferencePair, mode: Mode) -> list[Message]:
        """What the generator is asked about a pair, in the order given."""
        return attach(chat(pair, mode, self.wording), self._parts)

    def _parts(self, uri: str) -> list[Part]:
        frames = self.frames(uri)
        if self.seconds is None or len(frames) == 1:
            return [image_part(frame) for frame in frames]
        seconds = self.seconds(uri)
        return [video_part(frames, len(frames) / seconds if seconds else UNKNOWN_RATE)]


def _frames_of(messages: list[Message]) -> Iterator[Image.Image]:
    for part in (part for message in messages for part in message["content"]):
        yield from [part["image"]] if "image" in part else part.get("video", ())


def _further(on_progress: Progress, before: int, count: int, done: int, _: int) -> None:
    """Report how many conversations are done of all, of which a part begins after `before`."""
    on_progress(before + done, count)


def _relocated(on_text: OnText, places: Sequence[int], at: int, sample: int, piece: str) -> None:
    """Pass on a piece of the conversation that is `at` among those asked, by its place among all."""
    on_text(places[at], sample, piece)
