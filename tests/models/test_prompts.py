"""One prompt for everyone, and no trace of the label in it."""

import json
from typing import Any

import pytest

from models.preference import Candidate, Media, PreferencePair, Task
from models.prompts import attach, chat, image_part
from models.verdict import Mode, instructions


def pair(task: Task) -> PreferencePair:
    media = [Media(kind=task.media_kind, uri=f"{name}.png", sha256=name * 64) for name in "abc"]
    if task.judges_media:
        candidates = (Candidate(media=media[0]), Candidate(media=media[1]))
    else:
        candidates = (Candidate(text="a dog"), Candidate(text="a kite"))
    return PreferencePair(
        id="pair-7",
        task=task,
        prompt="a red kite",
        context=() if task.judges_media else (media[2],),
        candidates=candidates,
        preferred=1,
        source="the-source",
        group="the-group",
    )


def parts(messages: list[dict[str, Any]]) -> list[str]:
    """Texts as they are, media as their uri in angle brackets."""
    (message,) = messages
    assert message["role"] == "user"
    return [p["text"] if p["type"] == "text" else f"<{p[p['type']]['url']}>" for p in message["content"]]


@pytest.mark.parametrize("mode", ["think", "direct"])
@pytest.mark.parametrize("task", list(Task))
def test_the_label_and_the_bookkeeping_never_enter(task: Task, mode: Mode) -> None:
    one = pair(task)
    asked = chat(one, mode)
    others = {"preferred": 2, "id": "other", "group": "other", "source": "other"}
    assert chat(one.model_copy(update=others), mode) == asked
    assert chat(one.model_copy(update={"preferred": "tie"}), mode) == asked
    written = json.dumps(asked)
    assert not any(word in written for word in ("pair-7", "the-source", "the-group", "preferred"))


def test_a_generation_prompt_is_instructions_caption_and_named_media() -> None:
    assert parts(chat(pair(Task.IMAGE_GENERATION), "think")) == [
        instructions(Task.IMAGE_GENERATION, "think") + "\n",
        "Caption: a red kite\n",
        "Image 1:",
        "<a.png>",
        "Image 2:",
        "<b.png>",
    ]


def test_an_understanding_prompt_shows_its_context_before_the_question() -> None:
    assert parts(chat(pair(Task.VIDEO_UNDERSTANDING), "direct")) == [
        instructions(Task.VIDEO_UNDERSTANDING, "direct") + "\n",
        "<c.png>",
        "Question: a red kite\n",
        "Answer 1: a dog\n",
        "Answer 2: a kite\n",
    ]


@pytest.mark.parametrize("task", list(Task))
def test_a_swapped_pair_swaps_what_stands_under_the_names(task: Task) -> None:
    given, swapped = (parts(chat(one, "think")) for one in (pair(task), pair(task).swapped()))
    if task.judges_media:
        assert swapped == [*given[:3], given[5], given[4], given[3]]
    else:
        assert swapped == [*given[:3], "Answer 1: a kite\n", "Answer 2: a dog\n"]


@pytest.mark.parametrize(("task", "kind"), [(Task.IMAGE_GENERATION, "image_url"), (Task.VIDEO_GENERATION, "video_url")])
def test_media_are_content_parts_of_their_kind(task: Task, kind: str) -> None:
    content = chat(pair(task), "think")[0]["content"]
    assert [p["type"] for p in content if p["type"] != "text"] == [kind, kind]


def test_attaching_replaces_each_reference_in_place_and_leaves_the_request_as_it_is() -> None:
    asked = chat(pair(Task.VIDEO_GENERATION), "think")
    before = json.dumps(asked)
    filled = attach(asked, lambda uri: [image_part(f"{uri}#{frame}") for frame in range(2)])
    images = [part["image"] for part in filled[0]["content"] if part["type"] == "image"]
    assert images == ["a.png#0", "a.png#1", "b.png#0", "b.png#1"]
    texts = [[p for p in content if p["type"] == "text"] for content in (asked[0]["content"], filled[0]["content"])]
    assert texts[0] == texts[1]
    assert json.dumps(asked) == before
