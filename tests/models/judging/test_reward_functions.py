"""Win rates as rewards, in the signatures that TRL and flow_grpo call: fakes that see brightness, a real model."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import DataError
from models.generation.open import LocalOptions, open_generator
from models.generation.protocol import Generated
from models.judging.answer_watch import AnswerWatch, JudgeSilent
from models.judging.reward_functions import answer_reward_function, image_reward_function, meetings
from models.judging.reward_model import RewardModel
from models.pairs.preference import Task
from models.shapes.pairs import make_pair
from models.verdict.prompts import Message
from tests.generators import FakeGenerator, brighter, more_x

BASE = Path(__file__).resolve().parents[3] / "models" / "shapes" / "base"


def silent(conversation: list[Message], sample: int) -> str:
    return "I would rather not say."


def grey(shade: int) -> Image.Image:
    return Image.new("RGB", (32, 32), (shade,) * 3)


def test_an_answer_is_rewarded_by_its_wins_over_the_others_of_its_prompt() -> None:
    generator = FakeGenerator(more_x)
    reward = answer_reward_function(RewardModel(generator), mode="direct")
    rewards = reward(
        prompts=["How many?", "What colour?", "How many?", "How many?", "What colour?"],
        completions=["x", "xx", "xxx", "xx", "x"],
        images=[[grey(1)], [grey(1)], [grey(1)], [grey(1)], [grey(1)]],
        completion_ids=[[1]] * 5,
        trainer_state=None,
    )
    assert rewards == [0.0, 1.0, 1.0, 0.5, 0.0]
    assert len(generator.conversations) == 2 * (3 + 1)


def test_one_question_about_two_images_is_two_groups() -> None:
    reward = answer_reward_function(RewardModel(FakeGenerator(more_x)), mode="direct")
    images = [grey(1), grey(2), grey(1), grey(2)]
    rewards = reward(prompts=["What?"] * 4, completions=["x", "xx", "xx", "x"], image=images)
    assert rewards == [0.0, 1.0, 1.0, 0.0]


def test_messages_and_their_own_images_are_read_as_trl_hands_them_over() -> None:
    generator = FakeGenerator(more_x)
    prompt = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image", "image": grey(3)}, {"type": "text", "text": "How many?"}]},
    ]
    completions = [[{"role": "assistant", "content": text}] for text in ("x", "xx")]
    reward = answer_reward_function(RewardModel(generator), mode="direct")
    assert reward(prompts=[prompt, prompt], completions=completions) == [0.0, 1.0]
    shown = generator.conversations[0][0]["content"]
    assert sum(part["type"] == "image" for part in shown) == 1
    text = "".join(part.get("text", "") for part in shown)
    assert "How many?" in text
    assert "Be brief." not in text


def test_frames_of_a_video_are_one_medium() -> None:
    reward = answer_reward_function(
        RewardModel(FakeGenerator(more_x)), task="video_understanding", mode="direct", media="clip"
    )
    frames = [grey(1), grey(2), grey(3)]
    assert reward(prompts=["What moves?"] * 2, completions=["x", "xx"], clip=[frames, frames]) == [0.0, 1.0]


def test_equal_and_empty_answers_need_no_judge() -> None:
    generator = FakeGenerator(more_x)
    reward = answer_reward_function(RewardModel(generator), mode="direct")
    completions = ["same", " same", "", "  "]
    assert reward(prompts=["What?"] * 4, completions=completions, image=[grey(1)] * 4) == [2.5 / 3] * 2 + [0.5 / 3] * 2
    assert generator.conversations == []


def test_a_sample_alone_has_the_reward_one_half() -> None:
    reward = answer_reward_function(RewardModel(FakeGenerator(more_x)))
    assert reward(prompts=["What?", "Why?"], completions=["x", "xx"], image=[grey(1)] * 2) == [0.5, 0.5]


def test_answers_without_a_valid_judgment_are_logged_and_worth_one_half() -> None:
    logged: dict[str, float] = {}
    reward = answer_reward_function(RewardModel(FakeGenerator(silent)), mode="direct")
    found = reward(prompts=["What?"] * 2, completions=["x", "xx"], image=[grey(1)] * 2, log_metric=logged.__setitem__)
    assert (found, logged) == ([0.5, 0.5], {"win_rate/unanswered": 1.0})


@pytest.mark.parametrize("kind", ["answers", "images"])
def test_a_judge_that_answers_next_to_nothing_ends_the_training(kind: str) -> None:
    class Refusing(FakeGenerator):
        def complete(self, conversation: list[Message], sample: int) -> Generated:
            return Generated("", truncated=False, refused="400")

    def ask(**options: Any) -> Any:
        judge, shown = RewardModel(Refusing()), [grey(shade) for shade in range(5)]
        if kind == "images":
            return image_reward_function(judge, **options)(shown, ["a"] * 5)[0]
        texts = [letter * 3 for letter in "abcde"]
        return answer_reward_function(judge, **options)(prompts=["?"] * 5, completions=texts, image=shown[:1] * 5)

    with pytest.raises(JudgeSilent, match=r"10 of the latest 10 comparisons \(refused: 400 10\), more than .*=0\.5"):
        ask()
    assert ask(max_unanswered=1.0) == [0.5] * 5


@pytest.mark.parametrize(
    ("told", "raises"),
    [
        ([None] * 5 + ["refused: 400"] * 5, False),
        ([None] * 4 + ["refused: 400"] * 6, True),
        (["missing_block"] * 9, False),  # too few to tell
        ([None] * 300 + ["refused: 400"] * 50, False),
        ([None] * 300 + ["refused: 400"] * 51, True),  # of the latest hundred
        (["refused: 400"] * 90 + [None] * 200, False),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_the_share_is_of_the_latest_comparisons(told: list[str | None], raises: bool, at_once: bool) -> None:
    watch = AnswerWatch(0.5)

    def tell() -> None:
        for fault in told[:-1]:
            with suppress(JudgeSilent):
                watch.record([fault])
        watch.record(told[-1:])

    if at_once:  # a call is judged as a whole
        raises = sum(fault is not None for fault in told) > len(told) / 2 and len(told) >= 10
    with pytest.raises(JudgeSilent) if raises else nullcontext():
        watch.record(told) if at_once else tell()


@pytest.mark.parametrize(
    ("prompt", "columns", "message"),
    [
        ("What?", {}, "sample 0, media: there is none"),
        ("What?", {"image": [None]}, "sample 0, media: there is none"),
        ([{"role": "system", "content": "x"}], {"image": [grey(1)]}, "1 messages has none of the user"),
    ],
)
def test_a_question_without_text_or_media_is_named(prompt: Any, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        answer_reward_function(RewardModel(FakeGenerator(more_x)))(prompts=[prompt], completions=["x"], **columns)


def forms(shades: Sequence[int]) -> dict[str, Any]:
    """The same grey images in each form that a diffusion trainer has."""
    array = np.stack([np.asarray(grey(shade)) for shade in shades])
    tensor = torch.from_numpy(array.transpose(0, 3, 1, 2).copy())
    return {
        "pil": [grey(shade) for shade in shades],
        "uint8 array": array,
        "float tensor": tensor.float() / 255,
        "bfloat16 tensor": (tensor.float() / 255).to(torch.bfloat16),
        "uint8 tensor": tensor,
    }


@pytest.mark.parametrize("form", list(forms([0])))
def test_an_image_is_rewarded_by_its_wins_over_the_others_of_its_prompt(form: str) -> None:
    reward = image_reward_function(RewardModel(FakeGenerator(brighter)), mode="direct")
    images = forms([10, 200, 100, 50, 60])[form]
    rewards, info = reward(images, ("a", "a", "a", "b", "b"), [{}] * 5, only_strict=True)
    assert rewards == [0.0, 1.0, 0.5, 0.0, 1.0]
    assert info == {"comparisons": 4.0, "unanswered": 0.0, "alone": 0.0}


def test_pairs_without_a_valid_answer_are_worth_one_half_and_counted() -> None:
    rewards, info = image_reward_function(RewardModel(FakeGenerator(silent)))(
        [grey(1), grey(2), grey(3)], ["a", "a", "b"], {}
    )
    assert rewards == [0.5, 0.5, 0.5]
    assert info == {"comparisons": 1.0, "unanswered": 1.0, "alone": 1.0}


def test_equal_images_tie() -> None:
    generator = FakeGenerator(brighter)
    assert image_reward_function(RewardModel(generator))([grey(1), grey(1)], ["a", "a"])[0] == [0.5, 0.5]
    assert generator.conversations == []


def test_rivals_limit_the_comparisons_and_keep_the_drift() -> None:
    generator = FakeGenerator(brighter)
    shades = [int(shade) for shade in np.random.default_rng(0).permutation(24) * 10]
    reward = image_reward_function(RewardModel(generator), mode="direct", rivals=4)
    rewards, info = reward([grey(shade) for shade in shades], ["a"] * 24)
    assert info["comparisons"] == 48  # of 276 pairs
    assert np.corrcoef(rewards, shades)[0, 1] > 0.7
    assert rewards == reward([grey(shade) for shade in shades], ["a"] * 24)[0]


@pytest.mark.parametrize(
    ("count", "rivals", "each"), [(8, 3, 3), (8, 2, 2), (7, 3, 4), (7, 4, 4), (9, 5, 6), (6, 9, 5)]
)
def test_everyone_meets_the_same_number_of_different_rivals(count: int, rivals: int, each: int) -> None:
    pairs = [frozenset(pair) for pair in meetings(count, rivals, Random(1))]
    assert len(set(pairs)) == len(pairs) == count * each // 2
    assert all(sum(at in pair for pair in pairs) == each for at in range(count))


@pytest.mark.parametrize(
    ("images", "prompts", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.uint8), ["a"] * 2, r"ndarray of uint8 with the shape \(2, 3, 8, 8\)"),
        (np.zeros((2, 8, 8, 3)), ["a"] * 2, "ndarray of float64"),
        (torch.zeros(3, 8, 8), ["a"], r"Tensor of uint8 with the shape \(3, 8, 8\)"),
        ([grey(1)], ["a", "b"], "1 images for 2 prompts"),
    ],
)
def test_other_images_are_refused(images: Any, prompts: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        image_reward_function(RewardModel(FakeGenerator(brighter)))(images, prompts)


def test_no_rivals_are_refused() -> None:
    with pytest.raises(ValueError, match="rivals is 0: give at least 1, or None for all"):
        image_reward_function(RewardModel(FakeGenerator(brighter)), rivals=0)([grey(1), grey(2)], ["a", "a"])


@pytest.fixture(scope="module")
def tiny() -> RewardModel:
    return RewardModel(open_generator(BASE, LocalOptions(device="cpu", batch=8)), max_tokens=8)


def test_a_real_model_rewards_the_better_image(tiny: RewardModel) -> None:
    numbers = range(8, 12)  # noise and blur, which so small a model sees
    made = [make_pair(Task.IMAGE_GENERATION, number, seed=3, held_out=True) for number in numbers]
    images = [one.frames[each.media.uri][0] for one in made for each in one.pair.candidates if each.media]
    prompts = [one.pair.prompt for one in made for _ in range(2)]
    rewards, info = image_reward_function(tiny, mode="direct")(images, prompts, {})
    assert info == {"comparisons": 4.0, "unanswered": 0.0, "alone": 0.0}
    assert sum(rewards) == 4
    assert sum(rewards[2 * number + number % 2] for number in range(4)) >= 3  # even numbers prefer the first


def test_a_real_model_rewards_answers_to_a_question(tiny: RewardModel) -> None:
    made = make_pair(Task.IMAGE_UNDERSTANDING, 0, seed=3, held_out=True)
    image = made.frames[made.pair.context[0].uri][0]
    answers = [str(one.text) for one in made.pair.candidates]
    rewards = answer_reward_function(tiny, mode="direct")(
        prompts=[made.pair.prompt] * 3, completions=[*answers, answers[0]], images=[[image]] * 3
    )
    assert sum(rewards) == pytest.approx(1.5)
    assert rewards[0] == rewards[2]


def test_pairwise_order_of_rewards_is_that_of_brightness() -> None:
    rewards, _ = image_reward_function(RewardModel(FakeGenerator(brighter)), mode="direct")(
        [grey(shade) for shade in range(0, 80, 10)], ["a"] * 8
    )
    assert all(one < other for one, other in pairwise(rewards))
