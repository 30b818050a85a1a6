"""Pairs for lessons, and their candidates changed more than in pairs, which have one flaw each.

Only scenes of the training split are drawn.
"""

from dataclasses import replace
from random import Random

from models.pairs.preference import Task
from models.shapes.assess import assess_generation
from models.shapes.draw import Look, draw_scene
from models.shapes.lessons.dictation import SHARE, dictation
from models.shapes.pairs import MadePair, as_seen, make_pair
from models.shapes.world import Flaw, Level, Scene, violate
from models.verdict.injection import with_sentence


def some_pair(rng: Random, seed: int) -> MadePair:
    """Any pair; in some a text speaks for either candidate, right or wrong, so that nothing follows from it."""
    made = make_pair(rng.choice(list(Task)), rng.getrandbits(40), seed=seed, held_out=False)
    if rng.random() >= SHARE:
        return made
    return replace(made, pair=with_sentence(made.pair, dictation(rng), rng.choice((1, 2))))


def much_changed(made: MadePair, which: int, rng: Random) -> MadePair:
    """The pair with its candidate `which` drawn again, its content changed in several ways, at times its rendering."""
    scene, task = made.scene, made.pair.task
    shown = altered(scene, made.level, rng)
    flaw = rendering_flaw(rng, video=task is Task.VIDEO_GENERATION)
    seen = list(made.seen)
    look = Look.random(rng)
    seen[which] = as_seen(shown, flaw, look)
    uri = getattr(made.pair.candidates[which].media, "uri", "")
    frames = {**made.frames, uri: draw_scene(shown, look, flaw, made.level, rng)}
    first, second = seen
    return replace(
        made, frames=frames, seen=(first, second), assessments=assess_generation(task, scene, (first, second))
    )


def worse_changed(made: MadePair, rng: Random) -> MadePair:
    """The pair with its worse candidate changed much. One flaw a pair, as pairs have it, teaches to guess it.

    Whoever sees neither noise nor a cut then answers that a colour differs, and the reverse.
    """
    worse = 1 if made.pair.preferred == 1 else 0
    while True:
        changed = much_changed(made, worse, rng)
        if not all(assessment.remarks[worse].good for assessment in changed.assessments):
            return changed


def both_changed(made: MadePair, rng: Random) -> MadePair:
    """The pair with both candidates changed much: nothing that one of them shows predicts the other."""
    return much_changed(much_changed(made, 0, rng), 1, rng)


def altered(scene: Scene, level: Level, rng: Random) -> Scene:
    """Another scene of the training split: about every other shape differs, and every other motion.

    Where most motions were those that the caption asks for, the base wrote the path that it expected and did not look.
    """
    more = (Flaw.COUNT, Flaw.MISSING) if scene.motion else (Flaw.COUNT, Flaw.MISSING, Flaw.RELATION)
    while True:
        shown = scene
        if scene.motion and rng.random() < 0.5:
            shown = violate(shown, Flaw.DIRECTION, level, rng) or shown
        for _ in range(scene.count):
            change = rng.choice((None, None, None, Flaw.COLOUR, Flaw.FORM, *more))
            shown = violate(shown, change, level, rng) or shown if change else shown
        if not shown.held_out:
            return shown


def rendering_flaw(rng: Random, *, video: bool) -> Flaw | None:
    """A flaw of rendering, or none. Those that take looking at one place or from frame to frame are the most."""
    flaws = (Flaw.NOISE, Flaw.BLUR, *((Flaw.FLICKER, Flaw.JUMP) if video else (Flaw.CUT,)) * 2)
    return rng.choice(flaws) if rng.random() < 0.6 else None
