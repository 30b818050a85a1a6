"""Judging in one and both orders, with a generator that answers what it is shown."""

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.errors import MediaError
from models.generation.protocol import (
    Generated,
    SamplingParams,
)
from models.judging.judge import Judge, sampling_seed
from models.pairs.preference import Candidate, Media, PreferencePair, Preferred, Task
from models.verdict.grammar import Dimension, Fault, Malformed, Mode, Verdict, answer_text
from models.verdict.prompts import Message
from models.verdict.rendering import render_verdict
from models.verdict.wordings.unified_reward_think import DIRECTORY
from tests.generators import Answer, FakeGenerator, shades

FRAMES = {"bright.png": [Image.new("L", (1, 1), 200)], "dark.png": [Image.new("L", (1, 1), 20)]}


def pair(name: str, preferred: Preferred = 1) -> PreferencePair:
    first, second = (Media(kind="image", uri=uri, sha256="0" * 64) for uri in ("bright.png", "dark.png"))
    return PreferencePair(
        id=name, task=Task.IMAGE_GENERATION, prompt="a bright square", source="test", preferred=preferred,
        candidates=(Candidate(media=first), Candidate(media=second)),
    )  # fmt: skip


def thinking(better: Preferred) -> str:
    scores = (8, 3) if better == 1 else (3, 8)
    verdict = Verdict.from_dimensions(Task.IMAGE_GENERATION, (Dimension("Light", scores, ("a", "b")),), better)
    return render_verdict(verdict)


def brightest(conversation: list[Message], sample: int) -> str:
    first, second = shades(conversation)
    return thinking(1 if first > second else 2)


class Ending(FakeGenerator):
    """Its texts are truncated if they have no answer."""

    def complete(self, conversation: list[Message], sample: int) -> Generated:
        text = self.answer(conversation, sample)
        return Generated(text, truncated="<answer>" not in text)


def judge(answer: Answer) -> tuple[Judge, FakeGenerator]:
    fake = Ending(answer)
    return Judge(fake, FRAMES.__getitem__), fake


def test_a_judge_that_sees_is_right_in_both_orders() -> None:
    judgments = judge(brightest)[0].judge([pair("a"), pair("b")], both_orders=True)
    assert [(one.pair.id, one.swapped, one.preferred, one.correct) for one in judgments] == [
        ("a", False, 1, True),
        ("a", True, 2, True),
        ("b", False, 1, True),
        ("b", True, 2, True),
    ]
    assert all(one.pair == (pair(one.pair.id).swapped() if one.swapped else pair(one.pair.id)) for one in judgments)


def test_a_judge_of_positions_is_right_in_one_order_alone() -> None:
    judgments = judge(lambda conversation, sample: thinking(1))[0].judge([pair("a")], both_orders=True)
    assert [one.correct for one in judgments] == [True, False]


def test_media_are_shown_in_the_order_of_the_presentation() -> None:
    judging, fake = judge(brightest)
    judging.judge([pair("a")], both_orders=True)
    assert [shades(conversation) for conversation in fake.conversations] == [[200, 20], [20, 200]]


def test_samples_follow_one_another_and_options_reach_the_generator() -> None:
    judging, fake = judge(lambda conversation, sample: thinking(2 if sample else 1))
    done: list[tuple[int, int]] = []
    judgments = judging.judge(
        [pair("a")],
        params=SamplingParams(n=2, temperature=0.7, max_tokens=99, seed=5),
        on_progress=lambda at, of: done.append((at, of)),
    )
    assert [(one.sample, one.preferred) for one in judgments] == [(0, 1), (1, 2)]
    seeds = [sampling_seed(5, pair("a"), "think")]
    (call,) = fake.calls
    assert call.params == SamplingParams(n=2, temperature=0.7, max_tokens=99, seed=seeds)
    assert done == [(1, 1)]


@pytest.mark.parametrize(
    ("mode", "text", "preferred", "right"),
    [
        ("direct", answer_text(Task.IMAGE_GENERATION, "tie"), "tie", False),
        ("direct", answer_text(Task.IMAGE_GENERATION, 1), 1, True),
        ("direct", "1 or 2", None, False),
        ("think", answer_text(Task.IMAGE_GENERATION, 1), None, False),  # no reasoning: malformed, not right
    ],
)
def test_the_mode_decides_what_counts(mode: Mode, text: str, preferred: Preferred | None, right: bool) -> None:
    (one,) = judge(lambda conversation, sample: text)[0].judge([pair("a")], mode)
    assert (one.preferred, one.correct, one.valid) == (preferred, right, preferred is not None)
    assert one.mode == mode and one.text == text


def test_a_malformed_text_is_neither_a_tie_nor_right() -> None:
    (one,) = judge(lambda conversation, sample: thinking(1)[:40])[0].judge([pair("a", "tie")])
    assert one.verdict == Malformed(Fault.MISSING_BLOCK, 0) and one.truncated
    assert one.preferred is None and not one.correct


def test_a_tie_that_is_labelled_a_tie_is_right_in_direct_mode() -> None:
    tie = answer_text(Task.IMAGE_GENERATION, "tie")
    judgments = judge(lambda conversation, sample: tie)[0].judge([pair("a", "tie")], "direct", both_orders=True)
    assert [one.correct for one in judgments] == [True, True]


def test_a_judge_asks_in_its_wording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "infer_cot_image_generation.py"
    script.write_text("problem = f'which shows [{prompt}]?'\n", encoding="utf-8")
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    fake = FakeGenerator(brightest)
    judgments = Judge(fake, FRAMES.__getitem__, "unified_reward_think").judge([pair("a")], both_orders=True)
    contents = [conversation[0]["content"] for conversation in fake.conversations]
    assert [content[-1]["text"] for content in contents] == ["which shows [a bright square]?"] * 2
    assert [[part["type"] for part in content] for content in contents] == [["image", "image", "text"]] * 2
    assert [one.correct for one in judgments] == [True, True]


def test_seeds_of_each_pair_are_derived_and_not_given() -> None:
    judging, fake = judge(brightest)
    with pytest.raises(ValueError, match="2 seeds: give one"):
        judging.judge([pair("a"), pair("b")], params=SamplingParams(max_tokens=9, seed=[1, 2]))
    assert not fake.calls


def test_no_pairs_give_no_judgments() -> None:
    assert judge(brightest)[0].judge([], both_orders=True) == []


def test_a_pair_whose_medium_cannot_be_decoded_costs_itself_alone() -> None:
    def frames(uri: str) -> list[Image.Image]:
        if uri == "broken.png":
            raise MediaError(uri, "cannot be decoded: cut off")
        return FRAMES[uri]

    broken = Candidate(media=Media(kind="image", uri="broken.png", sha256="0" * 64))
    good = pair("good")
    bad = good.model_copy(update={"id": "bad", "candidates": (broken, good.candidates[1])})
    judging = Judge(FakeGenerator(brightest), frames)
    judgments = judging.judge([bad, good], params=SamplingParams(n=2, max_tokens=1024), both_orders=True)
    assert [one.refused for one in judgments] == ["media: cannot be decoded: cut off"] * 4 + [""] * 4
    assert [one.preferred for one in judgments[4:]] == [1, 1, 2, 2]
    with pytest.raises(MediaError, match=r"broken\.png"):
        judging.judge([bad])


class Weighing(FakeGenerator):
    """Says nothing, and notes how many frames are alive whenever it is asked."""

    def __init__(self) -> None:
        super().__init__(lambda conversation, sample: "")
        self.asked: list[int] = []
        self.alive: list[int] = []

    def generate(self, conversations: Sequence[list[Message]], *arguments: Any, **options: Any) -> Any:
        self.asked.append(len(conversations))
        self.alive.append(sum(one() is not None for one in ALIVE))
        completions = super().generate(conversations, *arguments, **options)
        self.calls.clear()  # which hold the frames
        return completions


ALIVE: "list[weakref.ref[Image.Image]]" = []


def test_not_all_frames_are_in_memory_at_once_and_the_texts_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.judging.judge.HELD_BYTES", 4 * 4 * 64 * 64)  # four frames

    def decoded(uri: str) -> list[Image.Image]:
        if uri == "media-3":
            raise MediaError(uri, "is broken")
        frame = Image.new("RGB", (64, 64))
        ALIVE.append(weakref.ref(frame))
        return [frame]

    pairs = [
        PreferencePair.model_validate(
            {
                "id": str(at), "task": Task.IMAGE_GENERATION, "prompt": "a cube", "preferred": 1, "source": "test",
                "candidates": [
                    {"media": {"kind": "image", "uri": f"media-{2 * at + one}", "sha256": f"{2 * at + one:064d}"}}
                    for one in range(2)
                ],
            }
        )
        for at in range(10)
    ]  # fmt: skip
    weighing, told = Weighing(), list[tuple[int, int]]()
    judged = Judge(weighing, decoded).judge(pairs, on_progress=lambda done, total: told.append((done, total)))
    assert weighing.asked == [2, 2, 2, 2, 1] and max(weighing.alive) <= 5
    assert [one.pair.id for one in judged] == [str(at) for at in range(10)]
    assert [one.pair.id for one in judged if one.refused] == ["1"]
    assert told[-1] == (10, 10) and told == sorted(told)
