"""How often each kind of lesson is drawn, phase by phase."""

from collections.abc import Callable, Mapping
from random import Random

from models.shapes.lessons.judging import check, compare, judge, point, reason, verify
from models.shapes.lessons.lesson import Lesson
from models.shapes.lessons.matching import add, match
from models.shapes.lessons.seeing import follow, look_over, question, rendering

Mix = Mapping[Callable[[Random, int], Lesson], float]
# First to see. No mean colour tells noise, blur or flicker, and among other lessons their few words never begin to be
# learned: 13 % of the lessons for 1800 steps left them at chance, half of them for 150 steps did not.
SEEING: Mix = {rendering: 0.35, look_over: 0.3, question: 0.2, follow: 0.15}
# Then to match words. Who can do neither learns from comparisons to repeat what is asked as what is shown and to
# call it the same, which is mostly right, and then stays with it for thousands of steps.
MATCHING: Mix = {
    look_over: 0.08, rendering: 0.14, follow: 0.08, question: 0.1, match: 0.15, check: 0.18, verify: 0.08,
    point: 0.15, add: 0.04,
}  # fmt: skip
COMPARING: Mix = {
    compare: 0.33, point: 0.1, check: 0.1, judge: 0.12, verify: 0.06, rendering: 0.08, follow: 0.05, add: 0.04,
    question: 0.07, look_over: 0.03, match: 0.02,
}  # fmt: skip
# Last, what it has learned at the request to think.
REASONING: Mix = {
    reason: 0.35, compare: 0.2, point: 0.12, judge: 0.12, check: 0.05, rendering: 0.05, add: 0.03, follow: 0.02,
    question: 0.04, verify: 0.01, match: 0.01,
}  # fmt: skip
# For a base that knows all of it in other words: what it has to read again, above all.
REREADING: Mix = {
    reason: 0.3, judge: 0.24, compare: 0.14, check: 0.08, verify: 0.08, point: 0.08, rendering: 0.03,
    question: 0.03, follow: 0.01, add: 0.01,
}  # fmt: skip


def draw_lesson(rng: Random, seed: int, mix: Mix = COMPARING) -> Lesson:
    """One lesson of a random kind, as often as `mix` weighs it."""
    return rng.choices(list(mix), weights=list(mix.values()))[0](rng, seed)
