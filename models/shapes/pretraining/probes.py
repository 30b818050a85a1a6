"""Linear probes: whether a base sees flickers, jumps, directions, places and near colours, and where that is lost.

A logistic regression on frozen states (Alain and Bengio, arXiv 1610.01644) is trained on pictures and videos of the
training split and scored on others of it: on what the vision tower gives of a medium, and on the language model's last
state behind the request to say what is seen. Held-out scenes are not touched::

    python -m models.shapes.pretraining.probes models/shapes/base
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch

from models.shapes.draw import Look, draw_scene
from models.shapes.lessons.lesson import LOOK, Lesson
from models.shapes.lessons.seeing import about_medium
from models.shapes.pairs import as_seen
from models.shapes.pretraining.batches import collate
from models.shapes.pretraining.measuring import print_measured
from models.shapes.world import COLOURS, NEAR_COLOURS, PLACES, Flaw, Level, Scene, random_scene

BATCH = 50  # media at once


@dataclass(frozen=True)
class Medium:
    """One picture or video: what its frames are, and the class that a probe is to find."""

    lesson: Lesson
    truth: int


def _video(rng: Random, flaw: Flaw | None) -> tuple[Scene, Lesson]:
    level = rng.choice(list(Level))
    scene, look = random_scene(rng, level, video=True, held_out=False), Look.random(rng)
    frames = draw_scene(scene, look, flaw, level, rng)
    return scene, about_medium(LOOK, as_seen(scene, flaw, look), frames, "")


def _flow(flaw: Flaw) -> Callable[[Random], Medium]:
    def draw(rng: Random) -> Medium:
        spoiled = rng.random() < 0.5
        return Medium(_video(rng, flaw if spoiled else None)[1], int(spoiled))

    return draw


def _direction(rng: Random) -> Medium:
    scene, lesson = _video(rng, None)
    assert scene.motion is not None, "every video moves"
    return Medium(lesson, int(scene.motion.direction in ("left", "up")))


def _picture(rng: Random) -> tuple[Scene, Lesson]:
    scene, look = random_scene(rng, Level.EASY, video=False, held_out=False), Look.random(rng)
    while scene.count != 1:
        scene = random_scene(rng, Level.EASY, video=False, held_out=False)
    frames = draw_scene(scene, look, None, Level.EASY, rng)
    return scene, about_medium(LOOK, as_seen(scene, None, look), frames, "")


def _place(rng: Random) -> Medium:
    scene, lesson = _picture(rng)
    return Medium(lesson, next(at for at in range(len(PLACES)) if scene.places[at]))


def _near_colour(rng: Random) -> Medium:
    scene, lesson = _picture(rng)
    colour = next(shape.colour for shape in scene.places if shape)
    return Medium(lesson, int(COLOURS.index(colour) > COLOURS.index(NEAR_COLOURS[colour])))


# What is asked of a medium, each with equal shares of its classes. A near colour: which of the two of its pair.
PROBES: Mapping[str, Callable[[Random], Medium]] = {
    "flicker": _flow(Flaw.FLICKER),
    "jump": _flow(Flaw.JUMP),
    "direction": _direction,
    "place": _place,
    "near colour": _near_colour,
}


def probe(
    model: Any, processor: Any, *, seed: int, train: int = 1500, test: int = 500, names: Sequence[str] = tuple(PROBES)
) -> dict[str, dict[str, float]]:
    """Accuracy of each probe on `test` media, from 0 to 1, by where it reads: `tower` and `language`."""
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

    found: dict[str, dict[str, float]] = {}
    for name in names:
        draw = PROBES[name]
        rng = Random(f"{seed}/probe/{name}")
        media = [draw(rng) for _ in range(train + test)]
        truth = np.array([medium.truth for medium in media])
        found[name] = {}
        for where, features in zip(("tower", "language"), _states(model, processor, media), strict=True):
            line = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
            line.fit(features[:train], truth[:train])
            found[name][where] = round(float(line.score(features[train:], truth[train:])), 4)
    return found


@torch.inference_mode()
def _states(model: Any, processor: Any, media: list[Medium]) -> tuple[np.ndarray, np.ndarray]:
    """What the tower gives of each medium (all frames and places), and the last state of its prompt; a row a medium."""
    seen, read = [], []
    for batch in _batches(processor, media):
        visual = model.model.visual(batch["pixel_values"], grid_thw=batch["image_grid_thw"]).pooler_output
        count = len(batch["input_ids"])
        seen.append(visual.reshape(count, -1))
        states = model.model(**batch).last_hidden_state
        ends = batch["attention_mask"].sum(dim=1) - 2  # before the end of the answer, which is empty
        read.append(states[torch.arange(count), ends])
    return torch.cat(seen).float().numpy(), torch.cat(read).float().numpy()


def _batches(processor: Any, media: list[Medium]) -> Iterator[dict[str, torch.Tensor]]:
    for start in range(0, len(media), BATCH):
        batch = collate(processor, [medium.lesson for medium in media[start : start + BATCH]])
        yield {name: value for name, value in batch.items() if name != "labels"}


if __name__ == "__main__":
    print_measured(probe, __doc__)
