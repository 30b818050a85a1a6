"""How often each kind of lesson is drawn, phase by phase."""

from collections.abc import Callable, Mapping
from random import Random

from models.shapes.lessons.judging import (
    ask_lesson,
    check_lesson,
    compare_lesson,
    judge_lesson,
    point_lesson,
    reason_lesson,
    verify_lesson,
)
from models.shapes.lessons.lesson import Lesson
from models.shapes.lessons.matching import add_lesson, match_lesson
from models.shapes.lessons.seeing import follow_lesson, look_lesson, question_lesson, rendering_lesson

Mix = Mapping[Callable[[Random, int], Lesson], float]
# First to see. No mean colour tells noise, blur or flicker, and among other lessons their few words never begin to be
# learned: 13 % of the lessons for 1800 steps left them at chance, half of them for 150 steps did not.
SEEING: Mix = {rendering_lesson: 0.35, look_lesson: 0.3, question_lesson: 0.2, follow_lesson: 0.15}
# Then to match words. Who can do neither learns from comparisons to repeat what is asked as what is shown and to
# call it the same, which is mostly right, and then stays with it for thousands of steps.
MATCHING: Mix = {
    look_lesson: 0.08, rendering_lesson: 0.12, follow_lesson: 0.08, question_lesson: 0.12, match_lesson: 0.15,
    check_lesson: 0.15, verify_lesson: 0.06, point_lesson: 0.12, ask_lesson: 0.15, add_lesson: 0.04,
}  # fmt: skip
COMPARING: Mix = {
    compare_lesson: 0.28, point_lesson: 0.1, ask_lesson: 0.12, check_lesson: 0.1, judge_lesson: 0.12,
    verify_lesson: 0.05, rendering_lesson: 0.05, follow_lesson: 0.05, add_lesson: 0.04, question_lesson: 0.08,
    look_lesson: 0.02, match_lesson: 0.02,
}  # fmt: skip
# Last, what it has learned at the request to think.
REASONING: Mix = {
    reason_lesson: 0.35, compare_lesson: 0.18, point_lesson: 0.08, ask_lesson: 0.1, judge_lesson: 0.12,
    check_lesson: 0.05, rendering_lesson: 0.03, add_lesson: 0.03, follow_lesson: 0.02, question_lesson: 0.04,
    verify_lesson: 0.01, match_lesson: 0.01,
}  # fmt: skip
# For a base that knows all of it in other words: what it has to read again, above all.
REREADING: Mix = {
    reason_lesson: 0.3, judge_lesson: 0.24, compare_lesson: 0.14, check_lesson: 0.08, verify_lesson: 0.08,
    point_lesson: 0.08, rendering_lesson: 0.03, question_lesson: 0.03, follow_lesson: 0.01, add_lesson: 0.01,
}  # fmt: skip


def draw_lesson(rng: Random, seed: int, mix: Mix = COMPARING) -> Lesson:
    """One lesson of a random kind, as often as `mix` weighs it."""
    return rng.choices(list(mix), weights=list(mix.values()))[0](rng, seed)
