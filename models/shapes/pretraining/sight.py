"""The tiny base model's vision tower before it meets a word: to see what each place holds and how it is drawn.

As large models start from a vision tower that was trained on its own, this one does from linear heads on its
outputs, which are thrown away. Through words alone, the same takes many times as long: a word's loss carries nothing
about where to look.
"""

import logging
from collections.abc import Iterator
from random import Random
from typing import Any

import torch
from PIL import Image

from models.shapes.draw import Look, draw_scene
from models.shapes.pretraining.batches import ahead
from models.shapes.world import COLOURS, PLACES, SHAPES, Flaw, Level, Scene, random_scene

log = logging.getLogger(__name__)
FLAWS = (None, None, Flaw.NOISE, Flaw.BLUR, Flaw.CUT)
VIDEOS = 0.4  # share of the pictures that are frames of a video, in which a shape may be between two places
RENDERINGS = (None, Flaw.NOISE, Flaw.BLUR)
# What a head predicts: its classes, and whether it does of each place or of the whole picture.
HEADS = {
    "colour": (len(COLOURS) + 1, True),
    "form": (len(SHAPES) + 1, True),
    "place": (len(PLACES), True),  # so that it is known where a shape is, once the shape is found
    "rendering": (len(RENDERINGS), False),
    "cut": (2, False),
}


def train_sight(
    visual: Any, processor: Any, *, steps: int, batch: int, peak_lr: float, rng: Random
) -> dict[str, float]:
    """Train the tower on fresh pictures of the training split; returns each head's accuracy over the last 50 steps."""
    width = visual.config.out_hidden_size
    heads = torch.nn.ModuleDict({name: torch.nn.Linear(width, classes) for name, (classes, _) in HEADS.items()})
    parameters = [*visual.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=peak_lr, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_lr, total_steps=steps, pct_start=0.1)
    right: dict[str, list[float]] = {name: [] for name in HEADS}
    for step, (inputs, truth) in enumerate(ahead(lambda: _batches(processor, steps, batch, rng)), start=1):
        seen = visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"]).pooler_output
        places = seen.unflatten(0, (batch, len(PLACES)))
        loss = torch.zeros(())
        for name, (_, of_places) in HEADS.items():
            logits = heads[name](places if of_places else places.mean(dim=1))
            loss = loss + torch.nn.functional.cross_entropy(logits.flatten(0, -2), truth[name].flatten())
            right[name].append((logits.argmax(-1) == truth[name]).float().mean().item())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            log.info("sight %d: %s", step, {name: round(sum(one[-50:]) / 50, 3) for name, one in right.items()})
    return {name: sum(one[-50:]) / len(one[-50:]) for name, one in right.items()}


def _batches(processor: Any, steps: int, batch: int, rng: Random) -> Iterator[tuple[Any, dict[str, torch.Tensor]]]:
    for _ in range(steps):
        yield _pictures(processor, batch, rng)


def _pictures(processor: Any, count: int, rng: Random) -> tuple[Any, dict[str, torch.Tensor]]:
    """So many pictures as the processor gives them, and what each head should predict."""
    images, rows = [], []
    for _ in range(count):
        image, scene, flaw = _picture(rng)
        images.append(image)
        colours = [COLOURS.index(shape.colour) + 1 if shape else 0 for shape in scene.places]
        forms = [SHAPES.index(shape.shape) + 1 if shape else 0 for shape in scene.places]
        rendering = RENDERINGS.index(flaw) if flaw in RENDERINGS else 0
        rows.append((colours, forms, list(range(len(PLACES))), rendering, int(flaw is Flaw.CUT)))
    truth = {name: torch.tensor(column) for name, column in zip(HEADS, zip(*rows, strict=True), strict=True)}
    return dict(processor.image_processor(images=images, return_tensors="pt")), truth


def _picture(rng: Random) -> tuple[Image.Image, Scene, Flaw | None]:
    """A picture, or one frame of a video with what moves at the place it is nearest to; what it shows, and its flaw."""
    level, flaw, video = rng.choice(list(Level)), rng.choice(FLAWS), rng.random() < VIDEOS
    scene = random_scene(rng, level, video=video, held_out=False)
    if video and flaw is Flaw.CUT:
        flaw = None  # of pictures only
    frames = draw_scene(scene, Look.random(rng), flaw, level, rng)
    at = rng.randrange(len(frames))
    if scene.motion:
        start, end = scene.motion.ends
        scene = scene.put(start if at < len(frames) / 2 else end, scene.motion.shape)
    return frames[at], scene, flaw
