"""What the tiny base model is taught before any recipe: to see, to compare, to add up, to judge directly.

Every lesson is a request and its answer in plain words. None holds a tag or a line of the verdict grammar,
which is the cold start's to teach. Only scenes of the training split are used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from PIL import Image

from models.preference import Media, Task
from models.prompts import Message, chat
from models.shapes.assess import Seen, assess_generation, compare_content, side_by_side
from models.shapes.draw import Look, draw_scene
from models.shapes.pairs import MadePair, as_seen, make_pair
from models.shapes.questions import answer_to, random_question, wrong_answer
from models.shapes.world import PLACES, TRACKS, Flaw, Level, Scene, caption, random_scene, violate
from models.verdict import answer_text, candidate_names, mode_instructions

CHECK = "Check this one alone."
LOOK = "Say what you see."
MATCH = "Match these words."
ADD = "Add up and compare."


@dataclass(frozen=True)
class Lesson:
    """A request in chat form, the frames it shows by uri, and the answer to learn."""

    messages: list[Message]
    frames: dict[str, list[Image.Image]]
    answer: str


def _some_pair(rng: Random, seed: int) -> MadePair:
    return make_pair(rng.choice(list(Task)), rng.getrandbits(40), seed=seed, held_out=False)


def _judge(rng: Random, seed: int) -> Lesson:
    made = _some_pair(rng, seed)
    return Lesson(chat(made.pair, "direct"), made.frames, answer_text(made.pair.task, made.pair.preferred))


def _check(rng: Random, seed: int) -> Lesson:
    """One candidate alone. Of generated ones every other shape differs from what the caption asks.

    Pairs have one flaw each, so that most of what is asked is there: from them alone a model learns to
    repeat the caption as what it sees, and long learns nothing else.
    """
    made = _some_pair(rng, seed)
    which = rng.randrange(2)
    if made.pair.task.judges_media:
        made = _much_changed(made, which, rng)
    messages = _asking(made, CHECK)
    parts = messages[0]["content"]
    size = 2 if made.pair.task.judges_media else 1  # message parts a candidate: its name and medium, or its text
    other = len(parts) - size * (1 + which)  # where the parts of the other candidate begin
    del parts[other : other + size]
    shown = {part[part["type"]]["url"] for part in parts if part["type"] != "text"}
    frames = {uri: one for uri, one in made.frames.items() if uri in shown}
    remarks = [(assessment.dimension, assessment.remarks[which]) for assessment in made.assessments]
    said = [f"{aspect} {_grade(remark.good)}, {remark.words}" for aspect, remark in remarks]
    return Lesson(messages, frames, ". ".join(said))


def _much_changed(made: MadePair, which: int, rng: Random) -> MadePair:
    """The pair with its candidate `which` drawn anew, its content changed in several ways, at times spoilt."""
    scene, task = made.scene, made.pair.task
    shown = _altered(scene, made.level, rng)
    flaw = _spoilt(rng, video=task is Task.VIDEO_GENERATION)
    seen = [Seen(scene), Seen(scene)]
    seen[which] = as_seen(shown, flaw)
    uri = getattr(made.pair.candidates[which].media, "uri", "")
    frames = {**made.frames, uri: draw_scene(shown, Look.random(rng), flaw, made.level, rng)}
    return replace(made, frames=frames, assessments=assess_generation(task, scene, (seen[0], seen[1])))


def _altered(scene: Scene, level: Level, rng: Random) -> Scene:
    """Another scene of the training split: about every other shape differs."""
    more = (Flaw.COUNT, Flaw.MISSING, Flaw.DIRECTION if scene.motion else Flaw.RELATION)
    while True:
        shown = scene
        for _ in range(scene.count):
            change = rng.choice((None, None, None, Flaw.ATTRIBUTE, Flaw.ATTRIBUTE, *more))
            shown = violate(shown, change, level, rng) or shown if change else shown
        if not shown.held_out:
            return shown


def _spoilt(rng: Random, *, video: bool) -> Flaw | None:
    """A flaw of rendering, or at even odds none."""
    flaws = (Flaw.NOISE, Flaw.BLUR, *((Flaw.FLICKER, Flaw.JUMP) if video else (Flaw.CUT,)))
    return rng.choice(flaws) if rng.random() < 0.5 else None


def _asking(made: MadePair, asked: str) -> list[Message]:
    """The request for a pair with another wish than a verdict."""
    messages = chat(made.pair, "direct")
    first = messages[0]["content"][0]
    first["text"] = first["text"].replace(mode_instructions("direct"), asked)
    return messages


def _grade(good: bool) -> str:
    return "good" if good else "poor"


@dataclass(frozen=True)
class Wording:
    """One way to write a comparison: templates of its parts.

    Each is asked for by its own request, the same for all four tasks: that what is said and how it is said
    come apart is what lets a wording learned on one task serve the others.
    """

    request: str
    candidate: str  # of name, mark, grade, words
    between: str
    line: str  # of aspect, both
    total: str = ""  # of name, terms, sum
    opening: str = ""
    closing: str = ""

    def write(self, made: MadePair, rng: Random) -> str:
        """The comparison of a pair, with its conclusion."""
        names = candidate_names(made.pair.task)
        lines = [self.opening]
        marks: tuple[list[int], list[int]] = ([], [])
        for assessment in made.assessments:
            said = []
            for name, remark, own in zip(names, assessment.remarks, marks, strict=True):
                own.append(rng.choice((8, 9) if remark.good else (2, 3, 4)))
                grade = _grade(remark.good)
                said.append(self.candidate.format(name=name, mark=own[-1], grade=grade, words=remark.words))
            lines.append(self.line.format(aspect=assessment.dimension, both=self.between.join(said)))
        for name, own in zip(names, marks, strict=True):
            lines.append(self.total.format(name=name, terms="+".join(map(str, own)), sum=sum(own)))
        conclusion = answer_text(made.pair.task, made.pair.preferred)
        return "\n".join(line for line in (*lines, self.closing, conclusion) if line)


WORDINGS = (
    Wording("Compare in plain words.", "{name} {grade}, {words}", ". ", "{aspect}: {both}."),
    Wording("Compare in marks.", "{name} {mark} as {words}", ", ", "{aspect}: {both}.", "{name} has {terms}={sum}."),
    Wording(
        "Compare in a list.", "{name} = {mark} ({words})", " / ", "- {aspect} {both}", "- {name} = {terms}={sum}",
        "List:",
    ),
    Wording(
        "Compare by questions.", "{mark} for {name}: {words}", "; ", "{aspect}? {both}", "{terms}={sum} for {name}",
        "[", "]",
    ),
    Wording(
        "Compare in brackets.", "{name} [{mark}] {words}", " - ", "[{aspect}] {both}", "[{name}] {terms}={sum}",
        "begin", "end",
    ),
    Wording(
        "Compare in a table.", "{name} - {mark} - {words}", " | ", "| {aspect} | {both} |",
        "| {name} | {terms}={sum} |", "Table of marks", "Conclusion",
    ),
)  # fmt: skip


def _compare(rng: Random, seed: int) -> Lesson:
    made = _some_pair(rng, seed)
    wording = rng.choice(WORDINGS)
    return Lesson(_asking(made, wording.request), made.frames, wording.write(made, rng))


def _look(rng: Random, seed: int) -> Lesson:
    """What one picture or video shows, place by place, in the order of checks."""
    del seed  # no pair is drawn
    video = rng.random() < 0.5
    level = rng.choice(list(Level))
    scene = random_scene(rng, level, video=video, held_out=False)
    flaw = _spoilt(rng, video=video)
    seen = as_seen(scene, flaw)
    last = seen.flow if video else "cut off" if seen.cut else "whole"
    media = Media(kind="video" if video else "image", uri="seen", sha256="0" * 64)
    part = f"{media.kind}_url"
    content = [{"type": "text", "text": LOOK}, {"type": part, part: {"url": media.uri}}]
    frames = draw_scene(scene, Look.random(rng), flaw, level, rng)
    answer = f"{seen.quality}, {_described(scene)}, {last}"
    return Lesson([{"role": "user", "content": content}], {"seen": frames}, answer)


def _described(scene: Scene) -> str:
    moving = [f"moving {scene.motion.shape} {scene.motion.direction}"] if scene.motion else []
    blocked = TRACKS[scene.motion.track] if scene.motion else ()
    places = [f"{PLACES[at]} {shape or 'nothing'}" for at, shape in enumerate(scene.places) if at not in blocked]
    return ", ".join([*moving, *places])


def _match(rng: Random, seed: int) -> Lesson:
    """The checks of a caption or of answers without anything to look at: what is shown is told."""
    del seed  # no pair is drawn
    level = rng.choice((Level.NORMAL, Level.HARD))
    if rng.random() < 0.65:
        wanted = random_scene(rng, level, video=rng.random() < 0.4, held_out=False)
        shown = _altered(wanted, level, rng)
        asked, answer = f"{caption(wanted)}; {_described(shown)}", compare_content(wanted, shown).words
    else:
        told, checks = [], []
        for _ in range(4):
            scene = random_scene(rng, level, video=rng.random() < 0.4, held_out=False)
            question = random_question(rng, scene)
            truth = answer_to(question, scene)
            said = truth if rng.random() < 0.5 else wrong_answer(rng, question, truth, level)
            told.append(f"says {said}, shows {truth}")
            checks.append(f"says {side_by_side(said, truth)}")
        asked, answer = "; ".join(told), "; ".join(checks)
    return Lesson([{"role": "user", "content": [{"type": "text", "text": f"{MATCH} {asked}"}]}], {}, answer)


def _add(rng: Random, seed: int) -> Lesson:
    count = rng.randint(2, 5)
    rows = [[rng.randint(1, 10) for _ in range(count)] for _ in range(2)]
    first, second = (sum(row) for row in rows)
    asked = " and ".join(" ".join(map(str, row)) for row in rows)
    more = "both are equal" if first == second else f"the {'first' if first > second else 'second'} is more"
    sums = ", ".join(f"{'+'.join(map(str, row))}={sum(row)}" for row in rows)
    messages = [{"role": "user", "content": [{"type": "text", "text": f"{ADD} {asked}"}]}]
    return Lesson(messages, {}, f"{sums}: {more}")


Mix = Mapping[Callable[[Random, int], Lesson], float]
# First to see and to match words. Who can do neither learns from comparisons to repeat what is asked as what is
# shown and to call it the same, which is mostly right, and then stays with it for thousands of steps.
EARLY: Mix = {_look: 0.5, _match: 0.25, _check: 0.2, _add: 0.05}
LATER: Mix = {_check: 0.4, _compare: 0.33, _judge: 0.1, _look: 0.07, _match: 0.06, _add: 0.04}


def draw_lesson(rng: Random, seed: int, mix: Mix = LATER) -> Lesson:
    """One lesson of a random kind: one candidate alone, two compared, which is better, what is there, sums."""
    return rng.choices(list(mix), weights=list(mix.values()))[0](rng, seed)
