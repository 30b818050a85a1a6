"""What the base model is taught before any recipe: no verdict grammar, no scene of the held-out split."""

from random import Random

import pytest

from models.preference import Task
from models.shapes.lessons import CHECK, Lesson, draw_lesson
from models.shapes.world import parse_caption
from models.verdict import Malformed, parse_verdict


@pytest.fixture(scope="module")
def lessons() -> list[Lesson]:
    rng = Random(8)
    return [draw_lesson(rng, seed=8) for _ in range(600)]


def texts(lesson: Lesson) -> list[str]:
    return [part["text"] for part in lesson.messages[0]["content"] if part["type"] == "text"]


def test_no_lesson_holds_a_tag_or_a_score_out_of_ten(lessons: list[Lesson]) -> None:
    for lesson in lessons:
        for text in [lesson.answer, *texts(lesson)]:
            assert not any(
                taught_later in text for taught_later in ("<think>", "</think>", "<answer>", "</answer>", "/10)")
            )


def test_no_answer_is_a_thinking_verdict(lessons: list[Lesson]) -> None:
    for lesson in lessons:
        assert all(isinstance(parse_verdict(lesson.answer, task), Malformed) for task in Task)


def test_no_caption_asks_for_a_held_out_scene(lessons: list[Lesson]) -> None:
    captions = [text.removeprefix("Caption: ") for lesson in lessons for text in texts(lesson) if "Caption: " in text]
    assert len(captions) > 100
    assert not any(parse_caption(text).held_out for text in captions)


def test_every_medium_of_a_lesson_has_its_frames(lessons: list[Lesson]) -> None:
    for lesson in lessons:
        shown = [part[part["type"]]["url"] for part in lesson.messages[0]["content"] if part["type"] != "text"]
        assert set(shown) == set(lesson.frames)


def test_alone_candidates_differ_from_what_is_asked_in_a_good_part_of_the_words(lessons: list[Lesson]) -> None:
    alone = [lesson.answer for lesson in lessons if CHECK in texts(lesson)[0]]
    same, differs = (sum(answer.count(f" {word}") for answer in alone) for word in ("same", "differs"))
    assert same + differs > 200
    assert 0.25 < differs / (same + differs) < 0.6


def test_lessons_follow_from_their_seed() -> None:
    one, same, other = ([draw_lesson(rng, seed=1).answer for _ in range(5)] for rng in map(Random, (3, 3, 4)))
    assert one == same != other
