"""A reward model as people use it: candidates in, preferences with their reasons out.

    judge = reward_model("champion")  # tasks/judging/judges.py: an alias, an artifact, a folder, or endpoint:MODEL
    judge.compare_one(task="image_generation", prompt="a red cube", candidate_1="1.png", candidate_2="2.png")
    judge.best_of("a red cube", ["1.png", "2.png", "3.png", "4.png"], task="image_generation")

Rows are those of models/judging/request_rows.py: media as paths, bytes, base64, data URLs, PIL images or lists of
frames. Everything may be called from several threads, and awaited; nothing is kept between calls.
"""

import asyncio
import math
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.generation.protocol import Generator, OnText, SamplingParams, StreamingGenerator
from models.judging.judge import FindFrames, Judge, Judgment
from models.judging.ranking import Pair, Ranking, rank
from models.judging.request_rows import RequestMedia, Row, answer_row, fault_of, read_media, read_mode, read_pairs
from models.media.decoding import HERE, Decoding
from models.pairs.preference import PreferencePair, Preferred, Task, agree
from models.verdict.grammar import Dimension, Malformed, Mode, Verdict
from models.verdict.prompts import Message, Wording

WON: dict[Preferred, float] = {1: 1.0, 2: 0.0, "tie": 0.5}
# Points of the totals; a lead of so many counts for 0.73. From 0.5 to 4 it ranks 400 groups of shapes about alike.
MARGIN_SCALE = 2.0


@dataclass(frozen=True)
class Outcome:
    """The judge's answer to one row: as the row has its candidates, and with `swapped` swapped too."""

    given: Judgment
    swapped: Judgment | None = None

    @property
    def preferred(self) -> Preferred | None:
        """The answer to the row as given; None where the text is malformed."""
        return self.given.preferred

    @property
    def valid(self) -> bool:
        """Whether the text as given follows the grammar."""
        return self.given.valid

    @property
    def text(self) -> str:
        """What the judge wrote about the row as given."""
        return self.given.text

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The scored dimensions, candidate 1 first; none in direct mode or where the text is malformed."""
        return self.given.verdict.dimensions if isinstance(self.given.verdict, Verdict) else ()

    @property
    def fault(self) -> str | None:
        """Why the text is malformed or was not written, or None."""
        return fault_of(self.given)

    @property
    def margin(self) -> int | None:
        """The first candidate's total less the second's, where the text has totals."""
        margin: int | None = answer_row([self.given])["margin"]
        return margin

    @property
    def agrees(self) -> bool | None:
        """Whether both presentation orders name the same candidate, or a tie; None where one alone was asked."""
        if self.swapped is None:
            return None
        return agree(self.preferred, self.swapped.preferred)

    @property
    def first_wins(self) -> float | None:
        """The share of answers for the first candidate, a tie as half; None where no answer is valid.

        The reward of a pair whichever order it is shown in: 0.5 where the answer depends on the order alone.
        """
        return self._for_first(lambda one: None if one.preferred is None else WON[one.preferred])

    @property
    def share(self) -> float | None:
        """How far the answers are for the first candidate, 0 to 1; None where no answer is valid.

        As `first_wins`, but where an answer has totals, it counts by how far apart they are: two flawed images a point
        apart are nearly equal, and who calls one of them the winner would be led by chance. An answer against its own
        totals decides nothing.
        """
        return self._for_first(_lean)

    def _for_first(self, lean: Callable[[Judgment], float | None]) -> float | None:
        """The mean of what `lean` gives of the orders asked in, turned round for the swapped one."""
        shares = [lean(self.given)]
        if self.swapped is not None:
            other = lean(self.swapped)
            shares.append(None if other is None else 1 - other)
        known = [one for one in shares if one is not None]
        return sum(known) / len(known) if known else None

    def row(self) -> Row:
        """The answer as a plain row, as the registry model gives it."""
        return answer_row([self.given, *([self.swapped] if self.swapped else [])])


def _lean(judgment: Judgment) -> float | None:
    """How far one answer is for the candidate it was shown first: a logistic function of the totals' difference."""
    verdict = judgment.verdict
    if isinstance(verdict, Malformed):
        return None
    if verdict.totals is None:
        return WON[verdict.preferred]
    if not verdict.answer_agrees:
        return WON["tie"]
    first, second = (total.value for total in verdict.totals)
    return 1 / (1 + math.exp((second - first) / MARGIN_SCALE))


class RewardModel:
    """Compares candidates with a generator: a local model, an endpoint, or a batching service's."""

    def __init__(
        self,
        generator: Generator,
        *,
        max_pixels: int = 147_456,
        max_frames: int = 8,
        max_tokens: int = 1024,
        wording: Wording = "thinkreward",
        files: bool = True,
        decoding: Decoding = HERE,
    ) -> None:
        self.generator = generator
        self.decoding = decoding  # where media are decoded: in other processes for what strangers send
        self.files = files  # whether a text may name a file of this machine
        self.max_pixels = max_pixels
        self.max_frames = max_frames
        self.max_tokens = max_tokens
        self.wording: Wording = wording

    def compare(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        mode: Mode = "think",
        both_orders: bool = True,
        max_tokens: int | None = None,
    ) -> list[Outcome]:
        """An outcome a row, judged greedily and together. A row's own `mode` goes first; `max_tokens` is this call's.

        Raises `DataError` or `MediaError` naming the row, before any is judged.
        """
        media = self.media()
        modes = [read_mode(row, mode, number) for number, row in enumerate(rows)]
        return self.judge(read_pairs(rows, media), media.frames, modes, both_orders=both_orders, max_tokens=max_tokens)

    def compare_one(self, *, mode: Mode = "think", both_orders: bool = True, **row: Any) -> Outcome:
        """The outcome of one row, whose fields are the arguments."""
        return self.compare([row], mode=mode, both_orders=both_orders)[0]

    async def acompare(
        self, rows: Sequence[Mapping[str, Any]], *, mode: Mode = "think", both_orders: bool = True
    ) -> list[Outcome]:
        """`compare` in a thread of its own, so that an event loop goes on."""
        return await asyncio.to_thread(self.compare, rows, mode=mode, both_orders=both_orders)

    def rank(
        self,
        prompt: str,
        candidates: Sequence[Any],
        *,
        task: Task | str,
        media: Any = None,
        mode: Mode = "think",
        confidence: float = 0.95,
        most: int | None = None,
        seed: int = 0,
    ) -> Ranking:
        """The candidates for one prompt from best to worst, by pairs judged greedily in both orders, round by round.

        A pair counts by `Outcome.share`.
        Candidates and `media` are as in a row, and decoded once; `confidence`, `most` and `seed` are as in
        `models.judging.ranking.rank`. Raises its `ValueError` for too few or too many candidates, and `MediaError`
        naming the candidate, counted from 0, before any is judged.
        """
        shown = self.media()
        judged = list(candidates)
        if task in (Task.IMAGE_GENERATION, Task.VIDEO_GENERATION):
            judged = [read_media(one, f"candidate {at}", files=shown.files) for at, one in enumerate(candidates)]
            for at, data in enumerate(judged):
                shown.add(data, Task(task), f"candidate {at}")

        def compare(pairs: list[Pair]) -> list[float | None]:
            asked = {"task": str(task), "prompt": prompt, "media": media}
            rows = [{**asked, "candidate_1": judged[one], "candidate_2": judged[other]} for one, other in pairs]
            outcomes = self.judge(read_pairs(rows, shown), shown.frames, [read_mode({}, mode, 0)] * len(rows))
            return [outcome.share for outcome in outcomes]

        return rank(len(judged), compare, confidence=confidence, most=most, seed=seed)

    def best_of(self, prompt: str, candidates: Sequence[Any], **options: Any) -> int:
        """The index of the best candidate (best-of-N sampling); the options are those of `rank`."""
        return self.rank(prompt, candidates, **options).best

    async def arank(self, prompt: str, candidates: Sequence[Any], **options: Any) -> Ranking:
        """`rank` in a thread of its own, so that an event loop goes on."""
        return await asyncio.to_thread(self.rank, prompt, candidates, **options)

    def media(self) -> RequestMedia:
        """An empty holder of decoded media within this model's caps, for `models.judging.request_rows.read_pairs`."""
        return RequestMedia(
            max_pixels=self.max_pixels, max_frames=self.max_frames, files=self.files, decoding=self.decoding
        )

    def judge(
        self,
        pairs: Sequence[PreferencePair],
        frames: FindFrames,
        modes: Sequence[Mode],
        *,
        both_orders: bool = True,
        max_tokens: int | None = None,
        on_text: OnText | None = None,
    ) -> list[Outcome]:
        """`compare` of pairs that were read already, each in its mode; `frames` finds a medium's by its uri.

        `on_text` receives each mode's texts as they are written, see `Judge.judge`.
        """
        judge, found = Judge(self.generator, frames, self.wording), dict[int, Outcome]()
        for mode in sorted(set(modes)):
            numbers = [number for number, wanted in enumerate(modes) if wanted == mode]
            asked = [pairs[number] for number in numbers]
            params = SamplingParams(max_tokens=int(max_tokens or self.max_tokens))
            judgments = judge.judge(asked, mode, params, both_orders=both_orders, on_text=on_text)
            each = len(judgments) // len(numbers)
            for at, number in enumerate(numbers):
                found[number] = Outcome(*judgments[at * each : (at + 1) * each])
        return [found[number] for number in range(len(pairs))]

    def stream(self, *, mode: Mode = "think", **row: Any) -> Iterator[str]:
        """The text about one row as it is written, in pieces; an endpoint's comes in one.

        An iterator that is given up leaves its text to be written to the end, unread.
        """
        media = self.media()
        (pair,) = read_pairs([row], media)
        mode = read_mode(row, mode, 0)
        conversation = Judge(self.generator, media.frames, self.wording).conversation(pair, mode)
        return streamed(self.generator, conversation, SamplingParams(max_tokens=self.max_tokens), mode=mode)

    async def astream(self, *, mode: Mode = "think", **row: Any) -> AsyncIterator[str]:
        """`stream` for an event loop."""
        pieces = await asyncio.to_thread(self.stream, mode=mode, **row)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece


def streamed(
    generator: Generator,
    conversation: list[Message],
    params: SamplingParams,
    *,
    mode: Mode = "think",
) -> Iterator[str]:
    """One completion in pieces as they come, generated in a thread of its own. What that raises is raised here."""
    pieces: queue.Queue[str | BaseException | None] = queue.Queue()

    def generate() -> None:
        try:
            if isinstance(generator, StreamingGenerator):
                generator.generate([conversation], params, mode=mode, on_text=lambda _, __, piece: pieces.put(piece))
            else:
                pieces.put(generator.generate([conversation], params, mode=mode)[0][0].text)
            pieces.put(None)
        except BaseException as error:  # noqa: BLE001  (the other thread waits for it)
            pieces.put(error)

    threading.Thread(target=generate, daemon=True, name="stream").start()
    while (piece := pieces.get()) is not None:
        if isinstance(piece, BaseException):
            raise piece
        yield piece
