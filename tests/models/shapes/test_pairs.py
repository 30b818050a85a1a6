"""Pairs whose label follows from how they were made, and whose bytes follow from the seed alone."""

import io
from collections import Counter

import pytest
from PIL import Image

from models.media.frames import decode
from models.pairs.preference import Task
from models.shapes.assess import Seen, compare_content
from models.shapes.pairs import KINDS, MadePair, make_pair, number_at
from models.shapes.questions import answer_to, parse_question
from models.shapes.world import IMAGE_FLAWS, TIMES, VIDEO_FLAWS, Level, caption_of, parse_caption

COUNT = 250
MADE: dict[Task, list[MadePair]] = {}


@pytest.fixture(params=list(Task))
def made(request: pytest.FixtureRequest) -> list[MadePair]:
    """Pairs of one task, of both splits by turns of two; made once."""
    task: Task = request.param
    if task not in MADE:
        MADE[task] = [make_pair(task, at, seed=11, held_out=at % 4 > 1) for at in range(COUNT)]
    return MADE[task]


def test_the_label_follows_from_the_assessments(made: list[MadePair]) -> None:
    for one in made:
        whole = [all(assessment.remarks[side].good for assessment in one.assessments) for side in (0, 1)]
        assert whole == [one.pair.preferred == 1, one.pair.preferred == 2], one.pair.id


def test_positions_and_levels_are_balanced(made: list[MadePair]) -> None:
    for side in (False, True):
        labels = Counter(one.pair.preferred for one in made if one.scene.held_out == side)
        assert abs(labels[1] - labels[2]) <= 1
    levels = Counter(one.level for one in made)
    assert all(levels[level] > COUNT / 6 for level in Level)
    for level in Level:
        first = [one.pair.preferred == 1 for one in made if one.level is level]
        assert 0.3 < sum(first) / len(first) < 0.7


def test_every_flaw_and_every_kind_of_question_occurs(made: list[MadePair]) -> None:
    task = made[0].pair.task
    questions = {"colour", "form", "count", "what", "where"}
    expected = {
        Task.IMAGE_GENERATION: {flaw.value for flaw in IMAGE_FLAWS},
        Task.VIDEO_GENERATION: {flaw.value for flaw in VIDEO_FLAWS},
        Task.IMAGE_UNDERSTANDING: questions,
        Task.VIDEO_UNDERSTANDING: questions | {"way"},
    }
    assert {one.pair.group for one in made} == expected[task]


@pytest.mark.parametrize("task", list(Task))
def test_kinds_and_labels_take_turns_so_that_any_beginning_has_equal_shares(task: Task) -> None:
    kinds = len(KINDS[task])
    numbers = [number_at(task, place) for place in range(4 * kinds)]
    assert sorted(numbers) == list(range(4 * kinds)), "each pair is taken once"
    for count in range(1, 4 * kinds + 1):
        by_kind = Counter(number // 2 % kinds for number in numbers[:count])
        assert max(by_kind.values()) - min(by_kind[kind] for kind in range(kinds)) <= 1
        assert abs(2 * sum(number % 2 for number in numbers[:count]) - count) <= 1
    for kind in range(kinds):
        labels = [number % 2 for number in numbers if number // 2 % kinds == kind]
        assert labels in ([0, 1, 0, 1], [1, 0, 1, 0])


@pytest.mark.parametrize("task", list(Task))
def test_a_pairs_kind_is_its_numbers_and_its_group(task: Task) -> None:
    kinds = KINDS[task]
    for number in (0, 1, 2, 7, 2 * len(kinds)):
        for held_out in (False, True):
            assert make_pair(task, number, seed=3, held_out=held_out).pair.group == kinds[number // 2 % len(kinds)]


def test_the_scenes_that_prompts_are_about_stay_in_their_split(made: list[MadePair]) -> None:
    for at, one in enumerate(made):
        assert one.scene.held_out == (at % 4 > 1)
    sides = [{one.scene.digest for one in made if one.scene.held_out == side} for side in (False, True)]
    assert not sides[0] & sides[1]


def test_the_better_candidate_is_what_the_prompt_asks_for(made: list[MadePair]) -> None:
    for one in made:
        better = one.pair.preferred
        assert better in (1, 2)
        if one.pair.task.judges_media:
            assert parse_caption(one.pair.prompt) == one.scene
            flawless = Seen(one.scene, path=one.scene.motion.path(TIMES) if one.scene.motion else ())
            assert one.seen[better - 1] == flawless, "what is asked for, and flawless"
            assert one.seen[2 - better] != flawless
        else:
            right = answer_to(parse_question(one.pair.prompt), one.scene)
            assert one.pair.candidates[better - 1].text == right
            assert one.pair.candidates[2 - better].text != right


def test_media_are_the_frames_that_were_drawn(made: list[MadePair]) -> None:
    for one in made[:20]:
        assert [media.uri for media in one.pair.media()] == list(one.blobs)
        for uri, frames in one.frames.items():
            stored = decode(one.blobs[uri], uri, max_frames=8)
            assert [frame.tobytes() for frame in stored] == [frame.tobytes() for frame in frames]
            assert len(frames) == (4 if one.pair.task.media_kind == "video" else 1)
            assert Image.open(io.BytesIO(one.blobs[uri])).size == (64, 64)


def test_the_two_candidates_of_a_generation_pair_never_look_alike(made: list[MadePair]) -> None:
    if made[0].pair.task.judges_media:
        assert all(len(one.blobs) == 2 for one in made)


@pytest.mark.parametrize("task", list(Task))
def test_the_same_seed_gives_the_same_bytes_in_any_order(task: Task) -> None:
    forward = [make_pair(task, at, seed=5, held_out=False) for at in range(4)]
    backward = [make_pair(task, at, seed=5, held_out=False) for at in (3, 2, 1, 0)][::-1]
    assert [(one.pair, one.blobs) for one in forward] == [(one.pair, one.blobs) for one in backward]
    other = [make_pair(task, at, seed=6, held_out=False) for at in range(4)]
    assert [one.pair.prompt for one in other] != [one.pair.prompt for one in forward]


def test_content_is_compared_word_by_word_shown_beside_asked() -> None:
    wanted = parse_caption("a red circle at top left and a blue star at top right")
    shown = parse_caption("a green circle at top left and a blue star at top right and a red cross at bottom left")
    remark = compare_content(wanted, shown)
    assert not remark.good
    assert remark.words == (
        "top left green red differs, circle circle same, top right blue blue same, star star same, "
        "bottom left red nothing differs, cross nothing differs"
    )
    assert compare_content(wanted, wanted).good
    moving = parse_caption("a red circle moving right at the top")
    turned = parse_caption("a red circle moving left at the top")
    assert "left right differs" in compare_content(moving, turned).words
    assert caption_of(moving) != caption_of(turned)
