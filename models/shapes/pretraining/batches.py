"""Lessons as padded batches with labels on the answers alone, and the loss that is taken of them."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import torch

from models.shapes.base_model import END
from models.shapes.lessons.lesson import Lesson
from models.shapes.lessons.mixes import draw_lesson
from models.shapes.pretraining.schedule import Phase
from models.verdict.prompts import attach, image_part

POOL = 12  # batches drawn at once and sorted by length


def render(processor: Any, lesson: Lesson) -> tuple[str, list[Any]]:
    """The lesson's prompt text and its frames in order."""
    messages = attach(lesson.messages, lambda uri: [image_part(frame) for frame in lesson.frames[uri]])
    images = [part["image"] for part in messages[0]["content"] if part["type"] == "image"]
    return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), images


def collate(processor: Any, lessons: list[Lesson]) -> dict[str, torch.Tensor]:
    """A right-padded batch with labels on the answers alone (-100 elsewhere)."""
    prompts, images = zip(*(render(processor, lesson) for lesson in lessons), strict=True)
    flat = [image for group in images for image in group]
    texts = [prompt + lesson.answer + END for prompt, lesson in zip(prompts, lessons, strict=True)]
    batch = processor(text=texts, images=flat or None, return_tensors="pt", padding=True, padding_side="right")
    answers = processor.tokenizer([lesson.answer + END for lesson in lessons])["input_ids"]
    labels = torch.full_like(batch["input_ids"], -100)
    for row, answer in enumerate(answers):
        end = int(batch["attention_mask"][row].sum())
        labels[row, end - len(answer) : end] = batch["input_ids"][row, end - len(answer) : end]
    return {**batch, "labels": labels}


def batches(processor: Any, phases: Sequence[Phase], seed: int, rng: Random) -> Iterator[dict[str, torch.Tensor]]:
    """The batches of all phases, of fresh lessons; a function of `seed` and `rng` alone."""
    for phase in phases:
        for drawn in range(0, phase.steps, POOL):
            count = min(POOL, phase.steps - drawn)
            pool = [draw_lesson(rng, seed, phase.mix) for _ in range(count * phase.batch)]
            pool.sort(key=_rough_length)  # stable: lessons of like length stay in the order they were drawn
            starts = list(range(0, len(pool), phase.batch))
            rng.shuffle(starts)
            for start in starts:
                yield collate(processor, pool[start : start + phase.batch])


def _rough_length(lesson: Lesson) -> int:
    """Grows with the lesson's tokens, in steps: batches of like lengths waste less padding (1.8 times as fast here).

    In steps, so that a batch does not hold one answer alone: sorted to the letter, all of a batch's pictures are
    noisy or all are clean, and a model learns from it which batch it is in.
    """
    return (len(lesson.answer) + 25 * sum(len(frames) for frames in lesson.frames.values())) // 60


class _Stream(torch.utils.data.IterableDataset[Any]):
    """What an iterator yields that is made where it is consumed."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return self.make()


def ahead(make: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """What `make()` yields, drawn by a process of its own while the model learns: drawing takes a fifth of a step."""
    return iter(torch.utils.data.DataLoader(_Stream(make), batch_size=None, num_workers=1, prefetch_factor=8))


def labelled_logits(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits that predict what has a label, tokens x vocabulary, and which places those are, lessons x tokens.

    Most of a batch is prompts, whose logits would cost as much as a layer.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    labelled = batch["labels"][:, 1:] != -100
    states = model.model(**inputs).last_hidden_state[:, :-1]
    logits: torch.Tensor = model.lm_head(states[labelled])
    return logits, labelled


def lesson_loss(logits: torch.Tensor, labels: torch.Tensor, labelled: torch.Tensor) -> torch.Tensor:
    """The mean loss of a token, where a lesson of n tokens weighs as much as the square root of n.

    `logits` and `labels` are of the places that `labelled` marks. A direct answer of five tokens, of which one decides,
    would be drowned out by comparisons of a hundred.
    """
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    weights = labelled.sum(dim=1).sqrt()
    lessons = labelled.nonzero()[:, 0]
    return (losses / weights[lessons]).sum() / weights.sum()
