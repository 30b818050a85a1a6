"""Lessons about one picture or video: what it shows, how it is rendered, how it moves."""

from random import Random

from PIL import Image

from models.shapes.assess import Seen, opening_words
from models.shapes.draw import Look, draw_scene
from models.shapes.lessons.changing import rendering_flaw
from models.shapes.lessons.lesson import FOLLOW, GLANCE, LOOK, Lesson
from models.shapes.pairs import as_seen
from models.shapes.questions import SceneQuestion, answer_to, random_question
from models.shapes.world import PLACES, TRACKS, Flaw, Level, Scene, random_scene

DRAWN, MOVES, WHOLE = "how is it drawn ?", "how does it move ?", "is it whole ?"


def look_lesson(rng: Random, seed: int) -> Lesson:
    """What one picture or video shows, place by place, in the order of checks."""
    del seed  # no pair is drawn
    video = rng.random() < 0.5
    seen, frames = drawn_medium(rng, rendering_flaw(rng, video=video), video=video)
    return about_medium(LOOK, seen, frames, all_seen(seen))


def rendering_lesson(rng: Random, seed: int) -> Lesson:
    """How one picture or video is rendered, in a word."""
    del seed  # no pair is drawn
    video = rng.random() < 0.5
    if rng.random() < 0.5:
        seen, frames = drawn_medium(rng, rng.choice((None, Flaw.NOISE, Flaw.BLUR)), video=video)
        return about_medium(f"{GLANCE} {DRAWN}", seen, frames, seen.quality)
    if video:
        seen, frames = drawn_medium(rng, rng.choice((None, Flaw.FLICKER, Flaw.JUMP)), video=True)
        return about_medium(f"{GLANCE} {MOVES}", seen, frames, seen.flow)
    seen, frames = drawn_medium(rng, rng.choice((None, Flaw.CUT)), video=False)
    return about_medium(f"{GLANCE} {WHOLE}", seen, frames, _wholeness(seen))


def follow_lesson(rng: Random, seed: int) -> Lesson:
    """Where a video's moving shape is, frame by frame, and what is to be concluded.

    How it moves took too many steps of thought to be learned from its word alone: after 5000 steps of pretraining
    half of the flickers and jumps were missed, while the places are found in a few hundred.
    """
    del seed  # no pair is drawn
    seen, frames = drawn_medium(rng, rng.choice((None, Flaw.FLICKER, Flaw.JUMP)), video=True)
    return about_medium(FOLLOW, seen, frames, f"{opening_words(seen)[-1]}, {seen.flow}")


def question_lesson(rng: Random, seed: int) -> Lesson:
    """A question about one picture or video, answered without any answers to choose from."""
    del seed  # no pair is drawn
    seen, frames = drawn_medium(rng, None, video=rng.random() < 0.5)
    question = random_question(rng, seen.scene)
    return about_medium(f"{GLANCE} {question}", seen, frames, answer_to(question, seen.scene))


def any_question(rng: Random, seen: Seen) -> tuple[str, str]:
    """A question about what a medium holds, or one of how it is rendered, and its answer."""
    if rng.random() < 0.8:
        question = random_question(rng, seen.scene)
        while _several(question, seen.scene):
            question = random_question(rng, seen.scene)
        return str(question), answer_to(question, seen.scene)
    if rng.random() < 0.3:
        return DRAWN, seen.quality
    return (MOVES, seen.flow) if seen.scene.motion else (WHOLE, _wholeness(seen))


def _several(question: SceneQuestion, scene: Scene) -> bool:
    """Whether several shapes have the colour or the form that a question asks about, as in scenes that were altered."""
    moving = [scene.motion.shape] if scene.motion else []
    shapes = [shape for shape in (*scene.places, *moving) if shape]
    return question.kind in ("colour", "form") and sum(question.subject in str(one).split() for one in shapes) > 1


def all_seen(seen: Seen) -> str:
    """How it is drawn, what it holds place by place, and whether it is whole or how it moves."""
    return ", ".join(
        [*opening_words(seen), described(seen.scene), seen.flow if seen.scene.motion else _wholeness(seen)]
    )


def described(scene: Scene) -> str:
    """What a scene holds, place by place, what moves first."""
    moving = [f"moving {scene.motion.shape} {scene.motion.direction}"] if scene.motion else []
    blocked = TRACKS[scene.motion.track] if scene.motion else ()
    places = [f"{PLACES[at]} {shape or 'nothing'}" for at, shape in enumerate(scene.places) if at not in blocked]
    return ", ".join([*moving, *places])


def _wholeness(seen: Seen) -> str:
    return "cut off" if seen.cut else "whole"


def drawn_medium(rng: Random, flaw: Flaw | None, *, video: bool) -> tuple[Seen, list[Image.Image]]:
    """A picture or video of the training split with a flaw of rendering: what is to be seen, and its frames."""
    level = rng.choice(list(Level))
    scene = random_scene(rng, level, video=video, held_out=False)
    look = Look.random(rng)
    return as_seen(scene, flaw, look), draw_scene(scene, look, flaw, level, rng)


def about_medium(asked: str, seen: Seen, frames: list[Image.Image], answer: str) -> Lesson:
    """A lesson about one medium."""
    kind = "video_url" if seen.scene.motion else "image_url"
    content = [{"type": "text", "text": asked}, {"type": kind, kind: {"url": "seen"}}]
    return Lesson([{"role": "user", "content": content}], {"seen": frames}, answer)
