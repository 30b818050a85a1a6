"""Scenes, captions, flaws and questions: true by construction, and split by content alone."""

from dataclasses import replace
from random import Random

import pytest

from models.shapes.questions import NUMBERS, answer_to, parse_question, random_question, wrong_answer
from models.shapes.world import (
    COLOURS,
    EMPTY,
    IMAGE_FLAWS,
    NEAR_COLOURS,
    PLACES,
    TIMES,
    VIDEO_FLAWS,
    Flaw,
    Level,
    Motion,
    Scene,
    Shape,
    caption_of,
    other_colour,
    parse_caption,
    random_scene,
    violate,
)

RENDERING = {Flaw.NOISE, Flaw.BLUR, Flaw.CUT, Flaw.FLICKER, Flaw.JUMP}


def scenes(count: int, *, held_out: bool = False) -> list[tuple[Scene, Level]]:
    """Scenes of every level, pictures and videos by turns."""
    rng = Random(f"scenes {held_out}")
    levels = [list(Level)[at % 3] for at in range(count)]
    return [(random_scene(rng, level, video=at % 2 == 1, held_out=held_out), level) for at, level in enumerate(levels)]


def test_the_splits_share_no_scene_and_thus_no_caption() -> None:
    train, held_out = ([scene for scene, _ in scenes(3000, held_out=side)] for side in (False, True))
    assert not {scene.digest for scene in train} & {scene.digest for scene in held_out}
    assert not {caption_of(scene) for scene in train} & {caption_of(scene) for scene in held_out}


def test_about_a_fifth_of_all_scenes_is_held_out() -> None:
    every = [scene.put(at, Shape("red", "star")) for scene, _ in scenes(600) for at in range(4)]
    assert 0.1 < sum(scene.held_out for scene in every) / len(every) < 0.3


def test_a_caption_reads_back_as_its_scene() -> None:
    for scene, _ in scenes(1000):
        assert parse_caption(caption_of(scene)) == scene


def test_captions_name_every_shape_with_its_place_in_reading_order() -> None:
    still = EMPTY.put(0, Shape("orange", "star")).put(3, Shape("red", "circle"))
    assert caption_of(still) == "an orange star at top left and a red circle at bottom right"
    moving = Scene((None, None, Shape("blue", "cross"), None), Motion(Shape("red", "square"), "right", "down"))
    assert caption_of(moving) == "a red square moving down on the right and a blue cross at bottom left"


@pytest.mark.parametrize(
    "text",
    ["", "a cat on a mat", "a red circle", "a pink circle at top left", "a red circle at the top", "and and and"],
)
def test_a_text_that_is_no_caption_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a caption"):
        parse_caption(text)


def test_a_path_is_told_frame_by_frame_with_its_flaw() -> None:
    motion = Motion(Shape("red", "square"), "bottom", "left")
    assert motion.path(TIMES) == ("bottom right", "bottom right", "bottom left", "bottom left")
    assert motion.path(TIMES, "flickers", 1) == ("bottom right", "nothing", "bottom left", "bottom left")
    assert motion.path(TIMES, "jumps", 2) == ("bottom right", "bottom right", "top left", "bottom left")
    assert replace(motion, track="left", direction="up").path((0.0, 1.0), "jumps", 1) == ("bottom left", "top right")


@pytest.mark.parametrize("level", list(Level))
def test_levels_have_their_number_of_shapes_and_every_shape_can_be_named(level: Level) -> None:
    rng = Random(1)
    wanted = {Level.EASY: ({1, 2}, {1, 2}), Level.NORMAL: ({2, 3}, {2}), Level.HARD: ({3, 4}, {2, 3})}[level]
    for video, counts in zip((False, True), wanted, strict=True):
        drawn = [random_scene(rng, level, video=video, held_out=False) for _ in range(200)]
        assert {scene.count for scene in drawn} == counts
        assert all((scene.motion is not None) == video for scene in drawn)
        for scene in drawn:
            there = [shape for shape in scene.places if shape] + ([scene.motion.shape] if scene.motion else [])
            assert len({shape.colour for shape in there}) == len({shape.shape for shape in there}) == len(there)


@pytest.mark.parametrize("flaw", sorted({*IMAGE_FLAWS, *VIDEO_FLAWS}))
def test_a_flaw_of_content_changes_the_caption_and_one_of_rendering_does_not(flaw: Flaw) -> None:
    rng = Random(2)
    made = 0
    for scene, level in scenes(600):
        if flaw not in (VIDEO_FLAWS if scene.motion else IMAGE_FLAWS):
            continue
        broken = violate(scene, flaw, level, rng)
        if broken is None:
            continue
        made += 1
        assert (caption_of(broken) == caption_of(scene)) == (flaw in RENDERING)
        assert broken.count - scene.count == {Flaw.COUNT: 1, Flaw.MISSING: -1}.get(flaw, 0)
    assert made > 100


def test_near_colours_are_mutual_and_other() -> None:
    assert set(NEAR_COLOURS) == set(COLOURS)
    assert all(NEAR_COLOURS[near] == colour != near for colour, near in NEAR_COLOURS.items())


@pytest.mark.parametrize("level", list(Level))
def test_near_colours_are_shown_and_answered_at_every_level(level: Level) -> None:
    rng = Random(4)
    drawn = [other_colour("red", level, rng) for _ in range(300)]
    near = drawn.count(NEAR_COLOURS["red"]) / len(drawn)
    assert near == 1.0 if level is Level.HARD else 0.5 < near < 0.7  # a half, and a fifth of the other half
    assert set(drawn) <= set(COLOURS) - {"red"}


@pytest.mark.parametrize("level", list(Level))
def test_videos_have_shapes_at_rest_at_every_level(level: Level) -> None:
    rng = Random(5)
    assert any(any(random_scene(rng, level, video=True, held_out=False).places) for _ in range(50))


def test_questions_read_back_and_have_one_answer_in_their_scene() -> None:
    rng = Random(3)
    asked = set()
    for scene, level in scenes(1500):
        question = random_question(rng, scene)
        asked.add((question.kind, scene.motion is not None))
        assert parse_question(str(question)) == question
        right = answer_to(question, scene)
        assert right not in ("nothing", NUMBERS[0])
        wrong = wrong_answer(rng, question, right, level)
        assert wrong != right and len(wrong.split()) == len(right.split()), (question, right, wrong)
    both = {"colour", "form", "count", "what", "where"}
    assert asked == {(kind, video) for kind in both for video in (False, True)} | {("way", True)}


def test_answers_are_those_a_person_would_give() -> None:
    scene = Scene((None, None, Shape("blue", "cross"), None), Motion(Shape("red", "square"), "right", "down"))
    for text, answer in {
        "what colour is the cross ?": "blue",
        "what colour is the square ?": "red",
        "what shape is blue ?": "cross",
        "what is at bottom left ?": "blue cross",
        "what is at top left ?": "nothing",
        "where is the blue cross ?": PLACES[2],
        "how many shapes are there ?": "two",
        "which way does the red square move ?": "down",
    }.items():
        assert answer_to(parse_question(text), scene) == answer
    with pytest.raises(ValueError, match="not a question"):
        parse_question("why ?")
