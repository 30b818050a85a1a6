"""Train the base model on the lessons of its schedule, and save it with what it can do."""

import json
import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from models.shapes.base_model import build_config, build_processor, build_tokenizer, reworded_tokenizer
from models.shapes.lessons.lesson import REQUESTS
from models.shapes.pretraining.batches import ahead, batches, labelled_logits, lesson_loss
from models.shapes.pretraining.measuring import Recall, direct_accuracy, measure_base
from models.shapes.pretraining.schedule import LEGS, REWORDED, SIGHT, Leg
from models.shapes.pretraining.sight import train_sight
from models.shapes.pretraining.vocabulary import tokenizer_texts
from models.vision_tower import quicken_vision

log = logging.getLogger(__name__)
LOOK_EVERY = 1000  # steps between looks at direct judging
VALIDATION_SEED_OFFSET = 1_000_003  # other draws of the training split's scenes than the lessons use


def pretrain(out: Path, *, seed: int) -> None:
    """Train from random weights; save model, processor and `measured.json` in `out`."""
    started = time.monotonic()
    torch.manual_seed(seed)
    processor = build_processor(build_tokenizer(tokenizer_texts(seed), REQUESTS))
    model = AutoModelForImageTextToText.from_config(build_config(processor.tokenizer))
    log.info("%.2f M parameters, %d tokens", model.num_parameters() / 1e6, len(processor.tokenizer))
    quicken_vision(model)
    (pictures,) = SIGHT.phases
    tower = model.model.visual
    rng = Random(f"{seed}/sight")
    sight = train_sight(tower, processor, steps=pictures.steps, batch=pictures.batch, peak_lr=SIGHT.peak_lr, rng=rng)
    # What it sees stays: the first steps of a language model that knows nothing yet would wreck it.
    _keep_sight(tower)
    for number, leg in enumerate(LEGS):
        train_leg(model, processor, leg, seed=seed, rng=Random(f"{seed}/{number}"), settling=number)
        save_base(model, processor, out)
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
    quicken_vision(model)
    _keep_sight(model.model.visual)
    train_leg(model, processor, REWORDED, seed=seed, rng=Random(f"{seed}/reworded"), settling=1)
    save_base(model, processor, out)
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
    measured = {**known, "parameters": model.num_parameters(), **measure_base(model, processor, seed=known["seed"])}
    (out / "measured.json").write_text(json.dumps(measured, indent=2) + "\n")
    log.info("measured: %s", json.dumps(measured))


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
    for step, batch in enumerate(ahead(partial(batches, processor, leg.phases, seed, rng)), start=1):
        model.train()
        seen.update(batch["input_ids"].unique().tolist())
        logits, labelled = labelled_logits(model, batch)
        labels = batch["labels"][:, 1:][labelled]
        loss = lesson_loss(logits, labels, labelled)
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

    Another training of the same model needs another `seed`: what it has seen since is still where the same draws put
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


def save_base(model: Any, processor: Any, out: Path) -> None:
    """An ordinary model directory: safetensors, configuration, processor."""
    model.save_pretrained(out, safe_serialization=True)
    processor.save_pretrained(out)
