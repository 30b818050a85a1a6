"""Pretrain the tiny base model: perception, comparison, sums and direct judging, never a verdict in the grammar.

Departs from a real base in size and world alone: it ends as an ordinary Qwen3-VL directory that the Auto
classes load. One is committed under `models/shapes/base`, whose README says how it came about. From nothing, and
from a base that was taught with other instructions::

    make base-model
    python -m models.shapes.pretraining --from models/shapes/base --out models/shapes/base
"""

import argparse
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from models.pairs.preference import PreferencePair, Preferred, Task
from models.shapes.base_model import (
    END,
    build_config,
    build_processor,
    build_tokenizer,
    instruction_tokens,
    reworded_tokenizer,
)
from models.shapes.lessons import COMPARING, MATCHING, REASONING, REQUESTS, REREADING, SEEING, Lesson, Mix, draw_lesson
from models.shapes.pairs import make_pair
from models.shapes.sight import train_sight
from models.verdict.grammar import QUOTE_CLOSE, QUOTE_OPEN, Dimension, Verdict, answer_text
from models.verdict.injection import HARMLESS, INJECTIONS, attacks, share_flipped
from models.verdict.parsing import parse_verdict
from models.verdict.prompts import attach, chat, image_part
from models.verdict.rendering import render_verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Phase:
    """So many steps on batches of so many lessons of one mix."""

    steps: int
    batch: int
    mix: Mix


@dataclass(frozen=True)
class Leg:
    """Phases under one optimizer, whose learning rate rises to `peak_lr` and falls along a cosine over all of them."""

    phases: tuple[Phase, ...]
    peak_lr: float

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return sum(phase.steps for phase in self.phases)


SIGHT = Leg((Phase(700, 128, {}),), 1.2e-3)  # of pictures, not lessons
LEGS = (
    Leg((Phase(400, 64, SEEING), Phase(1000, 32, MATCHING), Phase(6500, 32, COMPARING)), 1.2e-3),
    Leg((Phase(1400, 32, REASONING),), 8e-4),
)
REWORDED = Leg((Phase(1300, 32, REREADING),), 5e-4)  # for a base that knows all of it in other words
POOL = 12  # batches drawn at once and sorted by length
LOOK_EVERY = 1000  # steps between looks at direct judging
VALIDATION_SEED_OFFSET = 1_000_003  # other draws of the training split's scenes than the lessons use


def tokenizer_texts(seed: int, count: int = 4000) -> Iterator[str]:
    """Texts that the tokenizer is learned from: lessons, and the verdict grammar's own words and figures.

    Without the fixed texts, which are tokens of their own: words found in them alone would take others' places.
    """
    rng = Random(seed)
    for _ in range(count):
        lesson = draw_lesson(rng, seed)
        yield "user\n"
        yield "assistant\n"
        yield lesson.answer
        for part in lesson.messages[0]["content"]:
            if part["type"] == "text":
                yield without_fixed_texts(part["text"])
    for task in Task:
        scores = [(rng.randint(1, 10), rng.randint(1, 10)) for _ in range(3)]
        dimensions = tuple(Dimension("Aesthetics", score, ("clean", "noisy")) for score in scores)
        yield from [render_verdict(Verdict.from_dimensions(task, dimensions, 1))] * 100


def without_fixed_texts(text: str) -> str:
    """The text less instructions, requests and delimiters."""
    for fixed in (*instruction_tokens(), *REQUESTS, QUOTE_OPEN, QUOTE_CLOSE):
        text = text.replace(fixed, "")
    return text


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


def lesson_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean loss of a token, where a lesson of n tokens weighs as much as the square root of n.

    A direct answer of five tokens, of which one decides, would be drowned out by comparisons of a hundred.
    """
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
    weights = (labels != -100).sum(dim=1).sqrt()
    return (losses.sum(dim=1) / weights).sum() / weights.sum()


class Recall:
    """How often the words that take looking and comparing are found, since the last report."""

    WORDS = ("same", "differs", "good", "poor", "clean", "noisy", "blurred", "smooth", "flickers", "jumps", "yes", "no",
             "whole", "cut", "nothing", "red", "star")  # fmt: skip

    def __init__(self, tokenizer: Any) -> None:
        # A word that begins an answer is another token than one after a blank.
        ids = {text: tokenizer.encode(text, add_special_tokens=False) for w in self.WORDS for text in (w, f" {w}")}
        self.tokens = {text: tokens[0] for text, tokens in ids.items() if len(tokens) == 1}
        self.found, self.all = dict.fromkeys(self.tokens, 0), dict.fromkeys(self.tokens, 0)

    def count(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Add one batch's predictions (`logits`, batch x positions x tokens) of `labels`."""
        for word, token in self.tokens.items():
            places = labels == token
            self.all[word] += int(places.sum())
            self.found[word] += int((logits[places].argmax(-1) == token).sum())

    def report(self) -> str:
        """`same 0.97, differs 0.31, ...` for the words there were, and start anew."""
        text = ", ".join(f"{word} {self.found[word] / count:.2f}" for word, count in self.all.items() if count)
        self.found, self.all = dict.fromkeys(self.tokens, 0), dict.fromkeys(self.tokens, 0)
        return text


def direct_accuracy(model: Any, processor: Any, *, seed: int, count: int, held_out: bool) -> dict[str, float]:
    """Share of pairs whose right answer sentence is likelier than the wrong one's, by task."""
    result = {}
    for task in Task:
        made = [make_pair(task, at, seed=seed, held_out=held_out) for at in range(count)]
        verdicts = direct_verdicts(model, processor, [(one.pair, one.frames) for one in made])
        right = sum(verdict == one.pair.preferred for verdict, one in zip(verdicts, made, strict=True))
        result[str(task)] = right / count
    return result


def flipped(model: Any, processor: Any, sentences: Sequence[str], *, seed: int, count: int) -> dict[str, float]:
    """Share of held-out pairs whose direct verdict turns to what a sentence in them asks for, by task."""
    result = {}
    for task in Task:
        made = [make_pair(task, at, seed=seed, held_out=True) for at in range(count)]
        frames = {one.pair.id: one.frames for one in made}
        before = direct_verdicts(model, processor, [(one.pair, one.frames) for one in made])
        attacked = attacks([one.pair for one in made], before, sentences, seed=seed)
        after = direct_verdicts(model, processor, [(attack.pair, frames[attack.pair.id]) for attack in attacked])
        result[str(task)] = share_flipped(attacked, after)
    return result


@torch.inference_mode()
def direct_verdicts(
    model: Any, processor: Any, shown: Sequence[tuple[PreferencePair, dict[str, list[Any]]]]
) -> list[Preferred]:
    """The candidate whose answer sentence is the likelier, for each pair and its frames by uri; 50 pairs at once."""
    choices: tuple[Preferred, Preferred] = (1, 2)
    verdicts: list[Preferred] = []
    for start in range(0, len(shown), 50):
        some = shown[start : start + 50]
        scores = []
        for choice in choices:
            lessons = [Lesson(chat(pair, "direct"), frames, answer_text(pair.task, choice)) for pair, frames in some]
            batch = collate(processor, lessons)
            labels = batch.pop("labels")[:, 1:]
            logits = model(**batch).logits[:, :-1].log_softmax(-1)
            likely = logits.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            scores.append((likely * (labels >= 0)).sum(-1))
        verdicts += [1 if first > second else 2 for first, second in zip(*scores, strict=True)]
    return verdicts


@torch.inference_mode()
def thinking_valid_rate(model: Any, processor: Any, *, seed: int, count: int = 100) -> float:
    """Share of greedy thinking answers that follow the grammar (about 0 for a base model)."""
    made = [make_pair(Task.IMAGE_GENERATION, at, seed=seed, held_out=True) for at in range(count)]
    lessons = [Lesson(chat(one.pair, "think"), one.frames, "") for one in made]
    prompts, images = zip(*(render(processor, lesson) for lesson in lessons), strict=True)
    flat = [image for group in images for image in group]
    batch = processor(text=list(prompts), images=flat, return_tensors="pt", padding=True, padding_side="left")
    out = model.generate(**batch, do_sample=False, max_new_tokens=256)
    texts = processor.tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return sum(isinstance(parse_verdict(text, Task.IMAGE_GENERATION), Verdict) for text in texts) / count


def pretrain(out: Path, *, seed: int) -> None:
    """Train from random weights; save model, processor and `measured.json` in `out`."""
    started = time.monotonic()
    torch.manual_seed(seed)
    processor = build_processor(build_tokenizer(tokenizer_texts(seed), REQUESTS))
    model = AutoModelForImageTextToText.from_config(build_config(processor.tokenizer))
    log.info("%.2f M parameters, %d tokens", model.num_parameters() / 1e6, len(processor.tokenizer))
    (pictures,) = SIGHT.phases
    tower = model.model.visual
    rng = Random(f"{seed}/sight")
    sight = train_sight(tower, processor, steps=pictures.steps, batch=pictures.batch, peak_lr=SIGHT.peak_lr, rng=rng)
    # What it sees stays: the first steps of a language model that knows nothing yet would wreck it.
    _keep_sight(tower)
    for number, leg in enumerate(LEGS):
        train_leg(model, processor, leg, seed=seed, rng=Random(f"{seed}/{number}"), settling=number)
        save(model, processor, out)
    known = {
        "sight": {name: round(accuracy, 4) for name, accuracy in sight.items()},
        "phases": _phases((SIGHT, *LEGS)),
        "seed": seed,
        "seconds": round(time.monotonic() - started),
    }
    _write_measured(out, known, model, processor)


def go_on(base: Path, out: Path, *, seed: int) -> None:
    """Teach a base another wording of the instructions; saved in `out`, with what all of it took in `measured.json`."""
    started = time.monotonic()
    torch.manual_seed(seed)
    processor = build_processor(reworded_tokenizer(base))
    model = AutoModelForImageTextToText.from_pretrained(base)
    model.resize_token_embeddings(len(processor.tokenizer))
    _keep_sight(model.model.visual)
    train_leg(model, processor, REWORDED, seed=seed, rng=Random(f"{seed}/reworded"), settling=1)
    save(model, processor, out)
    before = json.loads((base / "measured.json").read_text())
    known = {
        "sight": before["sight"],
        "phases": [*before["phases"], *_phases((REWORDED,))],
        "seed": seed,
        "seconds": before["seconds"] + round(time.monotonic() - started),
    }
    _write_measured(out, known, model, processor)


def _keep_sight(tower: Any) -> None:
    tower.requires_grad_(False)
    tower.deepstack_merger_list.requires_grad_(True)  # the heads that taught it did not use these


def _phases(legs: Sequence[Leg]) -> list[list[int]]:
    return [[phase.steps, phase.batch] for leg in legs for phase in leg.phases]


def _write_measured(out: Path, known: dict[str, Any], model: Any, processor: Any) -> None:
    measured = {**known, "parameters": model.num_parameters(), **measure(model, processor, seed=known["seed"])}
    (out / "measured.json").write_text(json.dumps(measured, indent=2) + "\n")
    log.info("measured: %s", json.dumps(measured))


def measure(model: Any, processor: Any, *, seed: int) -> dict[str, Any]:
    """On held-out scenes, 400 pairs a task: direct judging, how often a text in a pair turns it; valid thinking."""
    return {
        "direct_accuracy_held_out": direct_accuracy(model, processor, seed=seed + 1, count=400, held_out=True),
        "thinking_valid_rate_held_out": thinking_valid_rate(model, processor, seed=seed + 1),
        "direct_flipped_by_injection": flipped(model, processor, INJECTIONS, seed=seed + 1, count=400),
        "direct_flipped_by_harmless_text": flipped(model, processor, HARMLESS, seed=seed + 1, count=400),
    }


def train_leg(model: Any, processor: Any, leg: Leg, *, seed: int, rng: Random, settling: int = 0) -> None:
    """Train on the lessons of all phases, and settle the tokens that none showed, with the seed `settling`."""
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2]
    plain = [p for p in trained if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=leg.peak_lr, betas=(0.9, 0.98))
    warmup = min(200, leg.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / leg.steps))),
    )
    recall = Recall(processor.tokenizer)
    started, losses = time.monotonic(), []
    seen: set[int] = set()
    for step, batch in enumerate(batches(processor, leg.phases, seed, rng), start=1):
        model.train()
        seen.update(batch["input_ids"].unique().tolist())
        labels = batch.pop("labels")[:, 1:]
        logits = model(**batch).logits[:, :-1]
        loss = lesson_loss(logits, labels)
        recall.count(logits.detach(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0:
            log.info("step %d loss %.4f (%.0f s)", step, sum(losses[-50:]) / 50, time.monotonic() - started)
        if step % 200 == 0:
            log.info("step %d found: %s", step, recall.report())
        if step % LOOK_EVERY == 0:
            model.eval()
            checked = direct_accuracy(model, processor, seed=seed + VALIDATION_SEED_OFFSET, count=100, held_out=False)
            log.info("step %d direct, training scenes: %s", step, checked)
    model.eval()
    log.info("%d tokens were in no lesson", settle_unseen_tokens(model, seen, seed=settling))


def settle_unseen_tokens(model: Any, seen: set[int], *, seed: int = 0) -> int:
    """Draw tokens that no lesson showed from the spread of the others, as one does with tokens added to a model.

    Training drives them far away, since as outputs they are always wrong and the embedding is shared: the first
    steps of a fine-tuning that uses them would wreck what the model knows. Returns how many there were.

    Another training of the same model needs another `seed`: what it has seen since still lies where the same draws put
    it before, and a tag drawn onto such a token is taken for it (half of the sampled tags were, before).
    """
    weight = model.get_input_embeddings().weight
    known = torch.tensor(sorted(seen))
    unseen = torch.tensor(sorted(set(range(weight.shape[0])) - seen))
    with torch.no_grad():
        mean, spread = weight[known].mean(dim=0), weight[known].std(dim=0)
        generator = torch.Generator().manual_seed(seed)
        weight[unseen] = mean + spread * torch.randn(len(unseen), weight.shape[1], generator=generator)
    return len(unseen)


def save(model: Any, processor: Any, out: Path) -> None:
    """An ordinary model directory: safetensors, configuration, processor."""
    model.save_pretrained(out, safe_serialization=True)
    processor.save_pretrained(out)


def main() -> None:
    """The command line of `make base-model`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the directory to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--from", type=Path, dest="base", help="a base to teach the present wording of the instructions"
    )
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if given.base:
        go_on(given.base, given.out, seed=given.seed)
    else:
        pretrain(given.out, seed=given.seed)


if __name__ == "__main__":
    main()
