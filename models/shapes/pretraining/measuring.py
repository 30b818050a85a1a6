"""What the base model can do: words found while it trains, direct judging, injections, valid thinking."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from models.pairs.preference import PreferencePair, Preferred, Task
from models.shapes.lessons.lesson import Lesson
from models.shapes.pairs import make_pair
from models.shapes.pretraining.batches import collate, render
from models.verdict.grammar import Verdict, answer_text
from models.verdict.injection import HARMLESS, INJECTIONS, attacks, share_flipped
from models.verdict.parsing import parse_verdict
from models.verdict.prompts import chat


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
        """Add one batch's predictions (`logits`, places x tokens) of `labels`, places."""
        for word, token in self.tokens.items():
            places = labels == token
            self.all[word] += int(places.sum())
            self.found[word] += int((logits[places].argmax(-1) == token).sum())

    def report(self) -> str:
        """`same 0.97, differs 0.31, ...` for the words there were, and start again."""
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


def print_measured(measure: Callable[..., dict[str, Any]], about: str | None) -> None:
    """The command line of a measurement: what `measure(model, processor, seed=...)` finds of a folder's model."""
    from models.backbone import load_model, load_processor

    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = measure(load_model(given.model), load_processor(given.model), seed=given.seed)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def measure_base(model: Any, processor: Any, *, seed: int) -> dict[str, Any]:
    """On held-out scenes, 400 pairs a task: direct judging, how often a text in a pair turns it; valid thinking."""
    return {
        "direct_accuracy_held_out": direct_accuracy(model, processor, seed=seed + 1, count=400, held_out=True),
        "thinking_valid_rate_held_out": thinking_valid_rate(model, processor, seed=seed + 1),
        "direct_flipped_by_injection": flipped(model, processor, INJECTIONS, seed=seed + 1, count=400),
        "direct_flipped_by_harmless_text": flipped(model, processor, HARMLESS, seed=seed + 1, count=400),
    }
