"""One prompt for everyone, and no trace of the label in it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigError
from models.pairs.preference import Candidate, Media, PreferencePair, Task
from models.verdict.grammar import Mode
from models.verdict.instructions import instructions
from models.verdict.prompts import Wording, attach, chat, image_part
from models.verdict.wordings.unified_reward_think import DIRECTORY, SCRIPTS


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


OUR_OWN = {
    Task.IMAGE_GENERATION: "5906ae24cd74d0805dc2f87b20c733cf2d8603583eb67040eb3e86d10e0f5069",
    Task.IMAGE_UNDERSTANDING: "7d6d7519baf265ae7244713ad60f7c2bc609ae658321427e8097b364b099affe",
    Task.VIDEO_GENERATION: "2118b725e8c9d7d28994726c1bd81f3e4b50d08b422ac23cb782c57b8747f340",
    Task.VIDEO_UNDERSTANDING: "b2980a471c52683ad40c942c875bf4ff4f5864cd71e629d94d4a6cb319830c08",
}


@pytest.mark.parametrize("task", list(Task))
def test_our_own_wording_is_byte_for_byte_what_models_were_trained_on(task: Task) -> None:
    """A change makes every model and stored answer one of another prompt: raise the stages' code versions."""
    asked = [chat(pair(task), mode) for mode in ("think", "direct")]
    assert hashlib.sha256(json.dumps(asked).encode()).hexdigest() == OUR_OWN[task]
    assert asked == [chat(pair(task), mode, "thinkreward") for mode in ("think", "direct")]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder laid out like a clone of upstream's repository, whose prompts say which script they are from."""

    def write(name: str, words: str, task: Task) -> None:
        holes = "{prompt}" if task.judges_media else "{Query} / {R1} / {R2}"
        (tmp_path / f"{name}.py").write_text(f"problem = f'{words}{name} asks: {holes}'\n", encoding="utf-8")

    for task in Task:
        noun = task.media_kind.capitalize() if task.judges_media else "Answer"
        write(f"qwen_infer_cot_{task}", "", task)
        write(f"qwen3vl_infer_cot_{task}", f"1. Colour:\\n  {noun} 1 (x/10) ", task)
    for task, script in SCRIPTS["qwen25", "direct"].items():
        write(script.removesuffix(".py"), "", task)
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("clone")
@pytest.mark.parametrize(
    ("wording", "mode", "task", "expected"),
    [
        (
            "unified_reward_think", "think", Task.IMAGE_GENERATION,
            ["<a.png>", "<b.png>", "qwen_infer_cot_image_generation asks: a red kite"],
        ),
        (
            "unified_reward_think", "think", Task.VIDEO_UNDERSTANDING,
            ["<c.png>", "qwen_infer_cot_video_understanding asks: a red kite / a dog / a kite"],
        ),
        (
            "unified_reward_think", "direct", Task.VIDEO_GENERATION,
            ["<a.png>", "<b.png>", "test_qwen25_answer_genAI_bench_video asks: a red kite"],
        ),
        (
            "unified_reward_think_qwen3vl", "think", Task.IMAGE_UNDERSTANDING,
            [
                "<c.png>",
                "1. Colour:\n  Answer 1 (x/10) qwen3vl_infer_cot_image_understanding asks: a red kite / a dog / a kite",
            ],
        ),
    ],
)  # fmt: skip
def test_a_released_wording_shows_all_media_and_then_its_text(
    wording: Wording, mode: Mode, task: Task, expected: list[str]
) -> None:
    assert parts(chat(pair(task), mode, wording)) == expected


@pytest.mark.usefixtures("clone")
def test_a_released_wording_follows_a_swap() -> None:
    asked = chat(pair(Task.IMAGE_UNDERSTANDING).swapped(), "think", "unified_reward_think")
    assert parts(asked)[-1].endswith("a red kite / a kite / a dog")
    shown = chat(pair(Task.VIDEO_GENERATION).swapped(), "think", "unified_reward_think_qwen3vl")
    assert parts(shown)[:2] == ["<b.png>", "<a.png>"]


@pytest.mark.usefixtures("clone")
def test_a_wording_that_upstream_does_not_publish_is_refused() -> None:
    with pytest.raises(ConfigError, match="no direct prompt for image_generation and qwen3vl"):
        chat(pair(Task.IMAGE_GENERATION), "direct", "unified_reward_think_qwen3vl")


def test_a_generation_prompt_is_instructions_caption_and_named_media() -> None:
    assert parts(chat(pair(Task.IMAGE_GENERATION), "think")) == [
        instructions(Task.IMAGE_GENERATION, "think") + "\n",
        "Caption: <quoted>a red kite</quoted>\n",
        "Image 1:",
        "<a.png>",
        "Image 2:",
        "<b.png>",
    ]


def test_an_understanding_prompt_shows_its_context_before_the_question() -> None:
    assert parts(chat(pair(Task.VIDEO_UNDERSTANDING), "direct")) == [
        instructions(Task.VIDEO_UNDERSTANDING, "direct") + "\n",
        "<c.png>",
        "Question: <quoted>a red kite</quoted>\n",
        "Answer 1: <quoted>a dog</quoted>\n",
        "Answer 2: <quoted>a kite</quoted>\n",
    ]


@pytest.mark.parametrize("task", list(Task))
def test_a_swapped_pair_swaps_what_stands_under_the_names(task: Task) -> None:
    given, swapped = (parts(chat(one, "think")) for one in (pair(task), pair(task).swapped()))
    if task.judges_media:
        assert swapped == [*given[:3], given[5], given[4], given[3]]
    else:
        assert swapped == [*given[:3], "Answer 1: <quoted>a kite</quoted>\n", "Answer 2: <quoted>a dog</quoted>\n"]


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
