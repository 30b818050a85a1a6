"""What the base model is taught before any recipe: no verdict grammar, no scene of the held-out split."""

import re
from collections import Counter
from random import Random

import pytest

from models.pairs.preference import Task
from models.shapes.lessons.changing import altered
from models.shapes.lessons.dictation import SHARE
from models.shapes.lessons.judging import ask_lesson, judge_lesson, verify_lesson
from models.shapes.lessons.lesson import CHECK, FOLLOW, GLANCE, Lesson
from models.shapes.lessons.mixes import MATCHING, SEEING, draw_lesson
from models.shapes.lessons.styles import COUNT, NOUNS, STYLES
from models.shapes.world import FRAMES, Level, parse_caption, random_scene
from models.verdict.grammar import Malformed
from models.verdict.injection import INJECTIONS
from models.verdict.instructions import task_instructions
from models.verdict.parsing import parse_verdict

PART = r"an? \w+ \w+ (?:at \w+ \w+|moving \w+ (?:at|on) the \w+)"
CAPTION = re.compile(rf"{PART}(?: and {PART})*")


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
    captions = [
        text.removeprefix("Caption: <quoted>").strip().removesuffix("</quoted>")
        for lesson in lessons
        for text in texts(lesson)
        if "Caption: " in text
    ]
    found = [CAPTION.match(text) for text in captions]
    captions = [match[0] for match in found if match]  # less what tries to dictate a verdict
    assert len(captions) == len(found)
    assert len(captions) > 100
    assert not any(parse_caption(text).held_out for text in captions)


def test_what_dictates_a_verdict_is_as_often_wrong_as_right() -> None:
    rng = Random(12)
    lessons = [draw_lesson(rng, 12, {judge_lesson: 1.0}) for _ in range(1500)]
    said = [(one.answer, "".join(texts(one)[1:])) for one in lessons]
    dictated = [(answer, text) for answer, text in said if " is better" in text]
    assert 0.1 < len(dictated) / len(lessons) < SHARE
    assert 0.4 < sum(answer in text for answer, text in dictated) / len(dictated) < 0.6


def test_no_lesson_holds_a_text_that_injections_are_measured_with(lessons: list[Lesson]) -> None:
    stems = [injection.split("{name}")[0].strip() for injection in INJECTIONS]
    assert not any(stem in text for lesson in lessons for text in texts(lesson) for stem in stems if stem)


def test_every_medium_of_a_lesson_has_its_frames(lessons: list[Lesson]) -> None:
    for lesson in lessons:
        shown = [part[part["type"]]["url"] for part in lesson.messages[0]["content"] if part["type"] != "text"]
        assert set(shown) == set(lesson.frames)


def test_alone_candidates_differ_from_what_is_asked_in_a_good_part_of_the_words() -> None:
    rng = Random(8)
    alone = [one.answer for one in (draw_lesson(rng, 8, MATCHING) for _ in range(400)) if CHECK in texts(one)[0]]
    same, differs = (sum(answer.count(f" {word}") for answer in alone) for word in ("same", "differs"))
    assert same + differs > 200
    assert 0.25 < differs / (same + differs) < 0.6


def test_a_candidate_alone_is_right_about_as_often_as_not() -> None:
    rng = Random(8)
    given = Counter(verify_lesson(rng, 8).answer for _ in range(100))
    assert set(given) == {"yes", "no"}
    assert 0.35 < given["yes"] / given.total() < 0.65


def test_a_question_about_one_of_two_names_it_and_is_answered_in_a_word() -> None:
    rng, answers = Random(4), Counter[bool]()
    for _ in range(60):
        lesson = ask_lesson(rng, 8)
        assert GLANCE in texts(lesson)[0]
        name = re.fullmatch(r"\n(\w+ [12]) .+ \?", texts(lesson)[-1])
        assert name is not None
        assert any(part.startswith(f"{name[1]}:") for part in texts(lesson)[1:-1])
        answers[lesson.answer.count(" ") <= 1] += 1
    assert answers == {True: 60}  # a word or two


def test_every_other_motion_differs_from_what_is_asked_for() -> None:
    rng = Random(5)
    scenes = [random_scene(rng, Level.NORMAL, video=True, held_out=False) for _ in range(200)]
    turned = sum(altered(scene, Level.NORMAL, rng).motion.direction != scene.motion.direction for scene in scenes)  # type: ignore[union-attr]
    assert 70 < turned < 130


def test_each_flaw_of_rendering_is_asked_for_as_often_as_its_absence() -> None:
    rng = Random(5)
    looked = [lesson for lesson in (draw_lesson(rng, seed=5) for _ in range(3000)) if GLANCE in texts(lesson)[0]]
    drawn = Counter(lesson.answer for lesson in looked if "how is it drawn" in texts(lesson)[0])
    assert set(drawn) == {"clean", "noisy", "blurred"}
    assert max(drawn.values()) < 2 * min(drawn.values())


def test_what_moves_is_followed_frame_by_frame_to_a_conclusion() -> None:
    rng = Random(7)
    looked = [lesson for lesson in (draw_lesson(rng, 7, SEEING) for _ in range(600)) if FOLLOW in texts(lesson)[0]]
    said = Counter(lesson.answer.split(", ")[1] for lesson in looked)
    assert set(said) == {"smooth", "flickers", "jumps"}
    for lesson in looked:
        path, flow = lesson.answer.split(", ")
        assert ("nothing" in path) == (flow == "flickers")
        assert len(lesson.frames["seen"]) == FRAMES


def test_neither_candidate_tells_about_the_other() -> None:
    rng = Random(9)
    lessons = [one for one in (draw_lesson(rng, 9) for _ in range(1000)) if "Compare in style" in texts(one)[0]]
    flaws = Counter(one.answer.count("not as asked") for one in lessons if "Caption: " in "".join(texts(one)))
    assert min(flaws[0], flaws[1], flaws[2]) > 0.1 * flaws.total()


def test_a_style_is_of_no_task_and_calls_candidates_by_any_noun() -> None:
    rng = Random(6)
    compared = [one for one in (draw_lesson(rng, seed=6) for _ in range(2000)) if "Compare in style" in texts(one)[0]]
    tasks = {task: [one for one in compared if task_instructions(task) in texts(one)[0]] for task in Task}
    for some in tasks.values():
        nouns = Counter(noun for one in some for noun in NOUNS if f"{noun} 1" in one.answer)
        assert set(nouns) == set(NOUNS)
        assert all(f"{noun} 1:" in "".join(texts(one)) for one in some for noun in NOUNS if f"{noun} 1" in one.answer)
    assert len({text.split("style ")[1] for one in compared for text in texts(one)[:1]}) == COUNT


def test_styles_differ_from_each_other() -> None:
    assert len({(s.candidate, s.between, s.line, s.heading, s.total, s.frame, s.conclusion) for s in STYLES}) == COUNT


def test_lessons_follow_from_their_seed() -> None:
    one, same, other = ([draw_lesson(rng, seed=1).answer for _ in range(5)] for rng in map(Random, (3, 3, 4)))
    assert one == same != other
