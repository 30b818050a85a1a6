"""The nouns refuse what no judge could be shown."""

from typing import Any

import pytest
from pydantic import ValidationError

from models.pairs.preference import Candidate, Media, PreferencePair, Task


def medium(name: str, kind: Any = "image") -> Media:
    return Media(kind=kind, uri=name, sha256="0" * 64)


def pair(task: Task, **changes: Any) -> PreferencePair:
    kind = task.media_kind
    texts = (Candidate(text="a dog"), Candidate(text="a kite"))
    shown = (Candidate(media=medium("1.png", kind)), Candidate(media=medium("2.png", kind)))
    fields: dict[str, Any] = {
        "id": "p",
        "task": task,
        "prompt": "a red kite",
        "context": () if task.judges_media else (medium("c.png", kind),),
        "candidates": shown if task.judges_media else texts,
        "preferred": 1,
        "source": "test",
    }
    return PreferencePair(**fields | changes)


@pytest.mark.parametrize("task", list(Task))
def test_a_swapped_pair_swaps_candidates_and_label_and_nothing_else(task: Task) -> None:
    one = pair(task)
    other = one.swapped()
    assert other.candidates == one.candidates[::-1]
    assert (one.preferred, other.preferred) == (1, 2)
    assert other.model_copy(update={"candidates": one.candidates, "preferred": 1}) == one
    assert other.swapped() == one


def test_a_tie_stays_a_tie_when_swapped() -> None:
    assert pair(Task.IMAGE_GENERATION, preferred="tie").swapped().preferred == "tie"


def test_media_are_listed_in_the_order_they_are_shown() -> None:
    assert [media.uri for media in pair(Task.IMAGE_GENERATION).media()] == ["1.png", "2.png"]
    two = (medium("a.png"), medium("b.png"))
    assert pair(Task.IMAGE_UNDERSTANDING, context=two).media() == two


@pytest.mark.parametrize("task", list(Task))
def test_json_brings_a_pair_back(task: Task) -> None:
    one = pair(task, preferred="tie", group="g")
    assert PreferencePair.model_validate_json(one.model_dump_json()) == one


TEXT = Candidate(text="x")
IMAGE = Candidate(media=medium("1.png"))


@pytest.mark.parametrize(
    ("task", "changes", "says"),
    [
        (Task.IMAGE_GENERATION, {"candidates": (TEXT, TEXT)}, "give each candidate a image"),
        (Task.VIDEO_GENERATION, {"candidates": (IMAGE, IMAGE)}, "give each candidate a video"),
        (Task.IMAGE_GENERATION, {"context": (medium("c.png"),)}, "takes no context media"),
        (Task.IMAGE_UNDERSTANDING, {"candidates": (IMAGE, IMAGE)}, "give each candidate a text"),
        (Task.IMAGE_UNDERSTANDING, {"candidates": (TEXT, IMAGE)}, "give each candidate a text"),
        (Task.IMAGE_UNDERSTANDING, {"context": ()}, "needs its image as context"),
        (Task.VIDEO_UNDERSTANDING, {"context": (medium("c.png"),)}, "needs its video as context"),
        (Task.VIDEO_UNDERSTANDING, {"context": (medium("a", "video"), medium("b", "video"))}, "takes one video"),
        (Task.IMAGE_GENERATION, {"candidates": (IMAGE, IMAGE, IMAGE)}, "at most 2 items"),
        (Task.IMAGE_GENERATION, {"preferred": 3}, "preferred"),
        (Task.IMAGE_GENERATION, {"preferred": "both"}, "preferred"),
        (Task.IMAGE_GENERATION, {"prompt": ""}, "prompt"),
        (Task.IMAGE_GENERATION, {"id": ""}, "id"),
        (Task.IMAGE_GENERATION, {"winner": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_pair_that_does_not_fit_its_task_is_refused(task: Task, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        pair(task, **changes)


@pytest.mark.parametrize("fields", [{}, {"text": "x", "media": medium("1.png")}, {"text": " \n"}])
def test_a_candidate_is_one_thing_and_not_empty(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Candidate(**fields)


def test_a_pair_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        pair(Task.IMAGE_GENERATION).preferred = 2  # type: ignore[misc]
