"""Lessons about pairs: judging directly, one candidate alone, and both compared in many styles."""

from random import Random

from models.pairs.preference import Task
from models.shapes.assess import draw_marks, totals
from models.shapes.lessons.changing import both_changed, much_changed, some_pair, worse_changed
from models.shapes.lessons.lesson import (
    CHECK,
    GLANCE,
    LOOK,
    VERIFY,
    Lesson,
    any_names,
    request_for,
    with_names,
    with_one_alone,
)
from models.shapes.lessons.seeing import all_seen, any_question
from models.shapes.lessons.styles import STYLES, Style, random_style
from models.shapes.pairs import make_pair
from models.verdict.grammar import answer_text, is_better
from models.verdict.instructions import mode_instructions
from models.verdict.prompts import chat

# Shares of the comparisons of generated media in which one or both differ from what is asked in many ways.
WORSE_CHANGED, BOTH_CHANGED = 0.35, 0.4


def judge_lesson(rng: Random, seed: int) -> Lesson:
    """A pair judged directly."""
    made = some_pair(rng, seed)
    return Lesson(chat(made.pair, "direct"), made.frames, answer_text(made.pair.task, made.pair.preferred))


def check_lesson(rng: Random, seed: int) -> Lesson:
    """One candidate alone. Of generated ones every other shape differs from what the caption asks.

    Pairs have one flaw each, so that most of what is asked is there: from them alone a model learns to
    repeat the caption as what it sees, and long learns nothing else.
    """
    made = some_pair(rng, seed)
    which = rng.randrange(2)
    if made.pair.task.judges_media:
        made = much_changed(made, which, rng)
    messages, frames = with_one_alone(made, which, CHECK)
    remarks = [(assessment.dimension, assessment.remarks[which]) for assessment in made.assessments]
    sentences = [f"{aspect} {_grade(remark.good)}, {remark.words}" for aspect, remark in remarks]
    return Lesson(messages, frames, ". ".join(sentences))


def verify_lesson(rng: Random, seed: int) -> Lesson:
    """Whether one candidate is the better of its pair, in a word and without any others before it."""
    made = some_pair(rng, seed)
    which = rng.randrange(2)
    messages, frames = with_one_alone(made, which, VERIFY)
    return Lesson(messages, frames, "yes" if made.pair.preferred == which + 1 else "no")


def point_lesson(rng: Random, seed: int) -> Lesson:
    """What one of two candidates shows, of which the request gives the name alone.

    From comparisons, where the flaw is in either, a model learns that something differs before it learns in which.
    """
    task = rng.choice([task for task in Task if task.judges_media])
    made = make_pair(task, rng.getrandbits(40), seed=seed, held_out=False)
    made, names, which = both_changed(made, rng), any_names(rng), rng.randrange(2)
    messages = with_names(request_for(made, LOOK), task, names)
    messages[0]["content"].append({"type": "text", "text": f"\n{names[which]}"})
    return Lesson(messages, made.frames, all_seen(made.seen[which]))


def ask_lesson(rng: Random, seed: int) -> Lesson:
    """A question in a word about one of two candidates, of which the request gives the name alone.

    What is where in which of them, with the caption and the other candidate beside it, is what all judging rests on; of
    the words of a comparison few say it.
    """
    task = rng.choice([task for task in Task if task.judges_media])
    made = make_pair(task, rng.getrandbits(40), seed=seed, held_out=False)
    made, names, which = both_changed(made, rng), any_names(rng), rng.randrange(2)
    asked, answer = any_question(rng, made.seen[which])
    messages = with_names(request_for(made, GLANCE), task, names)
    messages[0]["content"].append({"type": "text", "text": f"\n{names[which]} {asked}"})
    return Lesson(messages, made.frames, answer)


def compare_lesson(rng: Random, seed: int) -> Lesson:
    """Both candidates compared in one of many styles, under any names: a style is not of a task."""
    return _compared(rng.choice(STYLES), rng, seed)


def reason_lesson(rng: Random, seed: int) -> Lesson:
    """The request to think, answered in any layout, since the base knows none that is asked for.

    It understands what is wanted, as a large base does by reading, so that the cold start has a layout to teach
    and no more: its content, for each task and under any names, is as it should be from the first step.
    """
    return _compared(random_style(rng, mode_instructions("think")), rng, seed)


def _compared(style: Style, rng: Random, seed: int) -> Lesson:
    made, names = some_pair(rng, seed), any_names(rng)
    if made.pair.task.judges_media:
        change = rng.choices(
            (both_changed, worse_changed, None), (BOTH_CHANGED, WORSE_CHANGED, 1 - BOTH_CHANGED - WORSE_CHANGED)
        )[0]
        made = change(made, rng) if change else made
    marks = draw_marks(made.assessments, rng)
    first, second = totals(marks)
    answer = style.write(made.assessments, marks, names, is_better(names[first < second]))
    return Lesson(with_names(request_for(made, style.request), made.pair.task, names), made.frames, answer)


def _grade(good: bool) -> str:
    return "good" if good else "poor"
