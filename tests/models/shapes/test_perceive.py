"""What the embedded teacher sees, against what was drawn."""

import pytest
from PIL import Image

from models.pairs.preference import Task
from models.shapes.assess import Seen
from models.shapes.pairs import MadePair, make_pair
from models.shapes.perceive import perceive
from models.shapes.world import EMPTY, IMAGE_FLAWS, VIDEO_FLAWS, Level

PAIRS = 24


def fresh(task: Task, level: Level, count: int = PAIRS) -> list[MadePair]:
    return [make_pair(task, n, seed=20260, held_out=n % 2 == 0, levels={level: 1.0}) for n in range(count)]


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("level", list(Level))
def test_perceives_what_was_drawn(task: Task, level: Level) -> None:
    agreed = total = 0
    for made in fresh(task, level):
        for frames, truth in zip(made.frames.values(), made.seen, strict=True):
            agreed += perceive(frames) == truth
            total += 1
    assert agreed / total >= 0.97, f"{agreed} of {total}"


@pytest.mark.parametrize("group", IMAGE_FLAWS)
def test_each_flaw_of_a_picture_is_seen_at_the_hard_level(group: str) -> None:
    made = [one for one in fresh(Task.IMAGE_GENERATION, Level.HARD, 80) if one.pair.group == group]
    assert made, "no pair with this flaw among those drawn"
    for one in made:
        assert tuple(perceive(frames) for frames in one.frames.values()) == one.seen


@pytest.mark.parametrize("group", VIDEO_FLAWS)
def test_each_flaw_of_a_video_is_seen_at_the_hard_level(group: str) -> None:
    made = [one for one in fresh(Task.VIDEO_GENERATION, Level.HARD, 60) if one.pair.group == group]
    assert made, "no pair with this flaw among those drawn"
    for one in made:
        assert tuple(perceive(frames) for frames in one.frames.values()) == one.seen


def test_frames_of_another_size_are_scaled() -> None:
    made = make_pair(Task.IMAGE_UNDERSTANDING, 3, seed=1, held_out=False)
    (frames,) = made.frames.values()
    assert perceive([frames[0].resize((128, 128), Image.Resampling.NEAREST)]).scene == made.scene


def test_a_video_sampled_to_its_ends_still_shows_its_direction() -> None:
    made = make_pair(Task.VIDEO_UNDERSTANDING, 5, seed=1, held_out=False)
    (frames,) = made.frames.values()
    assert perceive([frames[0], frames[-1]]).scene == made.scene


def test_an_empty_picture_shows_nothing() -> None:
    assert perceive([Image.new("RGB", (64, 64), (205, 205, 200))]) == Seen(EMPTY)


def test_no_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        perceive([])
