"""Lessons in words alone: matching what is shown with what is asked for, and adding up."""

from random import Random

from models.shapes.assess import compare_content, side_by_side
from models.shapes.lessons.changing import altered
from models.shapes.lessons.lesson import ADD, MATCH, Lesson, any_names
from models.shapes.lessons.seeing import described
from models.shapes.questions import answer_to, random_question, wrong_answer
from models.shapes.world import Level, caption_of, random_scene
from models.verdict.grammar import is_better


def match_lesson(rng: Random, seed: int) -> Lesson:
    """The checks of a caption or of answers without anything to look at: what is shown is given in words."""
    del seed  # no pair is drawn
    level = rng.choice((Level.NORMAL, Level.HARD))
    if rng.random() < 0.65:
        wanted = random_scene(rng, level, video=rng.random() < 0.4, held_out=False)
        shown = altered(wanted, level, rng)
        asked, answer = f"{caption_of(wanted)}; {described(shown)}", compare_content(wanted, shown).words
    else:
        answers, checks = [], []
        for _ in range(4):
            scene = random_scene(rng, level, video=rng.random() < 0.4, held_out=False)
            question = random_question(rng, scene)
            truth = answer_to(question, scene)
            given = truth if rng.random() < 0.5 else wrong_answer(rng, question, truth, level)
            answers.append(f"says {given}, shows {truth}")
            checks.append(f"shows {side_by_side(truth, given)}")
        asked, answer = "; ".join(answers), "; ".join(checks)
    return Lesson([{"role": "user", "content": [{"type": "text", "text": f"{MATCH} {asked}"}]}], {}, answer)


def add_lesson(rng: Random, seed: int) -> Lesson:
    """Sums and which is more, as comparisons end."""
    del seed  # no pair is drawn
    names, count = any_names(rng), rng.randint(2, 5)
    rows = [[rng.randint(1, 10) for _ in range(count)] for _ in names]
    first, second = (sum(row) for row in rows)
    if rng.random() < 0.5:
        asked = ", ".join(f"{name} {sum(row)}" for name, row in zip(names, rows, strict=True))
        sums = []
    else:
        asked = ", ".join(f"{name} {' '.join(map(str, row))}" for name, row in zip(names, rows, strict=True))
        sums = [f"{name} {'+'.join(map(str, row))}={sum(row)}" for name, row in zip(names, rows, strict=True)]
    more = "both are equal" if first == second else is_better(names[first < second])
    messages = [{"role": "user", "content": [{"type": "text", "text": f"{ADD} {asked}"}]}]
    return Lesson(messages, {}, ", ".join([*sums, more]))
