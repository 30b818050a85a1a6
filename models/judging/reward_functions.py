"""A judge as the reward of a trainer: the win rate of each sample against the others of its prompt.

    GRPOTrainer(reward_funcs=[answer_reward_function(judge)], ...)  # TRL: answers to a question about an image
    image_reward_function(judge)(images, prompts, metadata)  # flow_grpo and its like: images for a prompt

The reward is that of Pref-GRPO (arXiv 2508.20751): all pairs of a group are judged, and a sample's reward is the share
that it wins. Departures: each pair is judged in both presentation orders, so that an answer which depends on the order
is worth 0.5 to both; and `rivals` limits how many others a sample meets, for groups whose pairs are too many. As there,
a pair without a valid answer is worth 0.5 to both, and how many there were is logged; above the share
`max_unanswered` of the latest comparisons `JudgeSilent` is raised (models/judging/answer_watch.py).

A group is what one call holds of a prompt. A sample alone has the reward 0.5, as there is nothing to compare it with:
see that the trainer hands whole groups to one call.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from models.errors import DataError
from models.judging.answer_watch import AnswerWatch
from models.judging.ranking import Pair
from models.judging.request_rows import Row, read_media
from models.judging.reward_model import RewardModel
from models.pairs.preference import Task
from models.verdict.grammar import Mode
from models.verdict.rewards import Completion, Reward, completion_text

MEDIA_COLUMNS = ("images", "image", "videos", "video")
EVEN = 0.5  # what a pair without a valid answer is worth to both

MOST_UNANSWERED = 0.5

ImageReward = Callable[..., tuple[list[float], dict[str, float]]]


@dataclass(frozen=True)
class WinRates:
    """The reward of each sample, and what it rests on.

    `faults` has for each comparison why it has no valid answer, or None; `alone` counts samples alone.
    """

    rewards: list[float]
    faults: list[str | None]
    alone: int

    @property
    def comparisons(self) -> int:
        """How many were asked for."""
        return len(self.faults)

    @property
    def unanswered(self) -> int:
        """How many of them have no valid answer."""
        return sum(fault is not None for fault in self.faults)


def answer_reward_function(
    judge: RewardModel,
    *,
    task: Task | str = Task.IMAGE_UNDERSTANDING,
    media: str | None = None,
    mode: Mode = "think",
    rivals: int | None = None,
    seed: int = 0,
    max_unanswered: float = MOST_UNANSWERED,
) -> Reward:
    """A reward function for TRL's GRPOTrainer and RLOOTrainer, for answers to questions about images or videos.

    It is called as they do (TRL 1.16, `GRPOTrainer._calculate_rewards`): with `prompts`, `completions` and the other
    dataset columns as lists of one entry a sample, and `log_metric`. Prompts and completions are texts or lists of
    messages; the question is the last user message. What it is about is in the column `media`, by default the first
    of `MEDIA_COLUMNS` that there is, or else in the prompt's own messages.

    Equal answers tie unasked, and an empty answer loses to any other, as no judge takes one. TRL calls once a process:
    have `per_device_train_batch_size` be a multiple of `num_generations`. Raises `DataError` for a question without
    media, `JudgeSilent` above `max_unanswered`, and what `RewardModel.compare` raises.
    """
    task, watch = Task(task), AnswerWatch(max_unanswered)

    def win_rate(prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float]:
        name = media or next((name for name in MEDIA_COLUMNS if columns.get(name) is not None), None)
        shown = columns[name] if name else [_shown(prompt) for prompt in prompts]
        texts = [completion_text(completion).strip() for completion in completions]
        rows: list[Row] = [
            {"task": task.value, "prompt": _question(prompt), "media": _read(one, task, f"sample {number}, media")}
            for number, (prompt, one) in enumerate(zip(prompts, shown, strict=True))
        ]
        keys = [(row["prompt"], _digest(row["media"])) for row in rows]
        found = _win_rates(judge, rows, texts, keys, mode=mode, rivals=rivals, seed=seed)
        watch.record(found.faults)
        if (log := columns.get("log_metric")) is not None and found.comparisons:
            log("win_rate/unanswered", found.unanswered / found.comparisons)
        return found.rewards

    return win_rate


def image_reward_function(
    judge: RewardModel,
    *,
    mode: Mode = "think",
    rivals: int | None = None,
    seed: int = 0,
    max_unanswered: float = MOST_UNANSWERED,
) -> ImageReward:
    """A reward function for diffusion trainers, for images that were generated from prompts.

    It is called as flow_grpo does (github.com/yifan123/flow_grpo, `flow_grpo/rewards.py`): with images (a list of PIL
    images, a float tensor NCHW in [0, 1] or a uint8 array NHWC), the prompt of each, and metadata, which is not looked
    at. It gives the reward of each and the other figures of `WinRates`. Each image meets `rivals` others of its prompt,
    chosen by `seed` (one more where both are odd), or all of them. Equal images tie unasked.

    flow_grpo deals the images of a prompt out to all processes and batches, and calls once a batch: on several GPUs the
    groups of a call are smaller than `num_image_per_prompt`, and `alone` counts the samples that have none.
    Raises `DataError` for other images and for another number of prompts, `JudgeSilent` above `max_unanswered`.
    """
    watch = AnswerWatch(max_unanswered)

    def win_rate(
        images: Any, prompts: Sequence[str], metadata: object = None, **_: object
    ) -> tuple[list[float], dict[str, float]]:
        shown = [read_media(image, f"image {number}") for number, image in enumerate(_images(images))]
        if len(shown) != len(prompts):
            raise DataError(f"{len(shown)} images for {len(prompts)} prompts: give one prompt an image")
        rows: list[Row] = [{"task": Task.IMAGE_GENERATION.value, "prompt": prompt} for prompt in prompts]
        found = _win_rates(judge, rows, shown, list(prompts), mode=mode, rivals=rivals, seed=seed)
        watch.record(found.faults)
        figures = {"comparisons": found.comparisons, "unanswered": found.unanswered, "alone": found.alone}
        return found.rewards, {name: float(number) for name, number in figures.items()}

    return win_rate


def _win_rates(
    judge: RewardModel,
    rows: Sequence[Row],
    candidates: Sequence[str] | Sequence[bytes],
    keys: Sequence[Hashable],
    *,
    mode: Mode,
    rivals: int | None,
    seed: int,
) -> WinRates:
    """Judges the pairs of samples whose `keys` are equal, all groups together."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for number, key in enumerate(keys):
        groups[key].append(number)
    met = [
        (group[one], group[other])
        for key, group in groups.items()
        for one, other in meetings(len(group), rivals, Random(f"{seed}/{key}"))
    ]
    shares = {pair: _unasked(*(candidates[at] for at in pair)) for pair in met}
    asked = [pair for pair, share in shares.items() if share is None]
    outcomes = judge.compare(
        [{**rows[one], "candidate_1": candidates[one], "candidate_2": candidates[other]} for one, other in asked],
        mode=mode,
    )
    answers = [outcome.first_wins for outcome in outcomes]
    shares |= zip(asked, answers, strict=True)
    won: list[list[float]] = [[] for _ in rows]
    for (one, other), share in shares.items():
        won[one].append(EVEN if share is None else share)
        won[other].append(1 - won[one][-1])
    return WinRates(
        rewards=[sum(each) / len(each) if each else EVEN for each in won],
        faults=[(one.fault or "no answer") if one.first_wins is None else None for one in outcomes],
        alone=sum(len(group) == 1 for group in groups.values()),
    )


def meetings(count: int, rivals: int | None, random: Random) -> list[Pair]:
    """Who meets whom: all pairs, or everyone the same number of rivals, drawn as neighbours in a shuffled circle.

    Where `count` and `rivals` are both odd nobody can arrange that, and everyone has one rival more.

    >>> len(meetings(8, None, Random(0))), len(meetings(8, 3, Random(0))), len(meetings(7, 3, Random(0)))
    (28, 12, 14)
    """
    if rivals is not None and rivals < 1:
        raise ValueError(f"rivals is {rivals}: give at least 1, or None for all")
    if rivals is None or rivals >= count - 1:
        return list(combinations(range(count), 2))
    seats = random.sample(range(count), count)
    on_each_side = rivals // 2 + rivals % 2 * (count % 2)
    pairs = [(at, (at + step) % count) for step in range(1, on_each_side + 1) for at in range(count)]
    if rivals % 2 and count % 2 == 0:
        pairs += [(at, at + count // 2) for at in range(count // 2)]
    return [(seats[one], seats[other]) for one, other in pairs]


def _unasked(first: str | bytes, second: str | bytes) -> float | None:
    """The share of the first where no judge is needed: of equal candidates, and of empty ones."""
    if first == second:
        return EVEN
    return 0.0 if not first else 1.0 if not second else None


def _question(prompt: Any) -> str:
    """The text of a prompt, or of its last user message."""
    if isinstance(prompt, str):
        return prompt
    asked = [message for message in prompt if message["role"] == "user"]
    if not asked:
        raise DataError(f"a prompt of {len(prompt)} messages has none of the user: give the question as one")
    return completion_text(asked[-1:])


def _shown(prompt: Any) -> list[Any]:
    """The media in a prompt's own messages, as TRL puts them there (`trl.data_utils.prepare_multimodal_messages`)."""
    parts = [part for message in prompt if isinstance(message, dict) for part in message["content"]]
    kinds = ("image", "video")
    return [part[kind] for part in parts if isinstance(part, dict) for kind in kinds if part.get(kind) is not None]


def _read(value: Any, task: Task, where: str) -> list[bytes]:
    """The media of one sample, encoded. Several media of a question about a video are its frames."""
    several = [one for one in (value if isinstance(value, (list, tuple)) else [value]) if one is not None]
    if not several:
        raise DataError(f"{where}: there is none: name the column that holds what the question is about")
    media = [several] if task.media_kind == "video" and len(several) > 1 else several
    return [read_media(one, where) for one in media]


def _digest(media: Sequence[bytes]) -> str:
    return "/".join(hashlib.sha256(one).hexdigest() for one in media)


def _images(images: Any) -> list[Any]:
    """Images in a trainer's form as media of rows."""
    if isinstance(images, (list, tuple)):
        return list(images)
    is_tensor = hasattr(images, "detach")
    array = images.detach().cpu() if is_tensor else images
    if is_tensor and array.is_floating_point():
        array = (array.float() * 255).round().clamp(0, 255).numpy().astype(np.uint8)
    array = np.asarray(array).transpose(0, 2, 3, 1) if is_tensor and array.ndim == 4 else np.asarray(array)
    if array.ndim != 4 or array.dtype != np.uint8 or array.shape[3] != 3:
        form = f"{type(images).__name__} of {array.dtype} with the shape {array.shape}"
        raise DataError(f"images are {form}: give PIL images, a float tensor NCHW in [0, 1] or a uint8 array NHWC")
    return [Image.fromarray(one) for one in array]
