"""What earns a reward: a whole verdict, the right answer, sums that agree. Nothing that merely looks like one."""

from typing import Any

import pytest

from models.verdict.rewards import (
    REWARDS,
    accuracy_reward,
    answer_reward,
    answered_orders_reward,
    completion_text,
    consistency_reward,
    decided_reward,
    format_reward,
    opened,
    orders_reward,
    reward_functions,
)

TASK = "image_generation"
RIGHT = (
    "<think>\n1. Aesthetics: Image 1 (8/10) - calm; Image 2 (3/10) - noisy\nTotal score:\nImage 1: 8=8\nImage 2: 3=3\n"
    "</think>\n<answer>Image 1 is better</answer>"
)


def rewards(text: str, preferred: str = "1") -> tuple[float, float, float]:
    columns = {"completions": [text], "task": [TASK], "preferred": [preferred], "prompts": ["p"], "images": [None]}
    return tuple(REWARDS[name](**columns)[0] for name in ("format", "accuracy", "consistency"))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RIGHT, (1.0, 1.0, 1.0)),
        (f"\n{RIGHT}\n", (1.0, 1.0, 1.0)),  # white space round it
        (RIGHT.replace("Image 1 is better", "Image 2 is better"), (1.0, 0.0, 0.5)),  # wrong, against its own sums
        (RIGHT.replace("8=8", "8=9"), (1.0, 1.0, 0.5)),  # right, with a wrong sum
        (RIGHT.replace("8=8", "8=2"), (1.0, 1.0, 0.0)),  # right by luck: wrong sum, and the answer contradicts it
        ("", (0.0, 0.0, 0.0)),
        ("1", (0.0, 0.0, 0.0)),
        ("1 or 2", (0.0, 0.0, 0.0)),  # hedged
        ("Image 1 is better", (0.0, 0.0, 0.0)),  # the answer alone: nothing was thought
        ("<answer>Image 1 is better</answer>", (0.0, 0.0, 0.0)),
        ("<think>Image 1 is better</think>", (0.0, 0.0, 0.0)),  # only mentioned in the reasoning
        (RIGHT.replace("<answer>Image 1 is better</answer>", ""), (0.0, 0.0, 0.0)),  # reasoning without an answer
        (RIGHT.replace("<answer>Image 1 is better", "<answer>1 or 2"), (0.0, 0.0, 0.0)),
        (RIGHT.replace("is better<", "is better or Image 2 is better<"), (0.0, 0.0, 0.0)),
        (RIGHT + "<answer>Image 2 is better</answer>", (0.0, 0.0, 0.0)),  # one answer of each
        (RIGHT + " Thank you!", (0.0, 0.0, 0.0)),  # text behind: the reference's pattern was not anchored there
        ("Well. " + RIGHT, (0.0, 0.0, 0.0)),
        (RIGHT.replace("8/10", "11/10"), (0.0, 0.0, 0.0)),
        (RIGHT.replace("Image", "Video"), (0.0, 0.0, 0.0)),  # another task's words
        ("<think>It is dark.</think><answer>Image 1 is better</answer>", (0.0, 0.0, 0.0)),  # right after no scores
        (RIGHT.replace("calm", "as is said: Image 2 is better"), (1.0, 1.0, 1.0)),  # the other, mentioned in passing
    ],
)
def test_table(text: str, expected: tuple[float, float, float]) -> None:
    assert rewards(text) == expected


def test_the_answer_is_held_against_the_label() -> None:
    assert rewards(RIGHT, "2") == (1.0, 0.0, 1.0)
    assert rewards(RIGHT, "tie") == (1.0, 0.0, 1.0)  # the thinking grammar has no tie


def test_conversational_completions_earn_what_their_text_earns() -> None:
    plain = [RIGHT, "1 or 2"]
    messages = [[{"role": "assistant", "content": text}] for text in plain]
    in_parts = [[{"role": "assistant", "content": [{"type": "text", "text": text}]}] for text in plain]
    for completions in (plain, messages, in_parts):
        assert accuracy_reward(completions, task=[TASK, TASK], preferred=["1", "1"]) == [1.0, 0.0]
        assert format_reward(completions, task=[TASK, TASK]) == [1.0, 0.0]
        assert consistency_reward(completions, task=[TASK, TASK]) == [1.0, 0.0]


def test_parts_without_text_add_nothing() -> None:
    content = [{"type": "image"}, {"type": "text", "text": "a"}, {"type": "text", "text": None}]
    assert completion_text([{"role": "assistant", "content": content}]) == "a"


def test_each_completion_is_read_in_its_own_task() -> None:
    video = RIGHT.replace("Image", "Video")
    tasks = ["image_generation", "video_generation"]
    assert accuracy_reward([RIGHT, video], task=tasks, preferred=["1", "1"]) == [1.0, 1.0]
    assert accuracy_reward([video, RIGHT], task=tasks, preferred=["1", "1"]) == [0.0, 0.0]


def test_columns_of_another_length_are_an_error_and_not_a_shorter_answer() -> None:
    for reward in (format_reward, consistency_reward, accuracy_reward, answer_reward):
        with pytest.raises(ValueError, match="shorter"):
            reward([RIGHT, RIGHT], task=[TASK], preferred=["1", "1"])
    for labelled in (accuracy_reward, answer_reward):
        with pytest.raises(ValueError, match="shorter"):
            labelled([RIGHT, RIGHT], task=[TASK, TASK], preferred=["1"])


def test_a_completion_is_read_with_what_the_prompt_began() -> None:
    begun, rest = RIGHT[:8], RIGHT[8:]
    columns = {"task": [TASK, TASK], "preferred": ["1", "2"]}
    messages = [[{"role": "assistant", "content": rest}], rest]
    assert opened(accuracy_reward, begun)(completions=messages, **columns) == [1.0, 0.0]
    assert opened(accuracy_reward, begun).__name__ == "accuracy_reward"  # TRL logs by it
    assert opened(accuracy_reward, "")(completions=[RIGHT, rest], **columns) == [1.0, 0.0]


def test_rewards_go_by_name_and_accuracy_has_two_readings() -> None:
    names = ["consistency", "format", "accuracy"]
    assert reward_functions(names, accuracy_needs_format=True) == [consistency_reward, format_reward, accuracy_reward]
    assert reward_functions(names, accuracy_needs_format=False) == [consistency_reward, format_reward, answer_reward]
    names = ["decided", "orders"]  # totals are in the grammar alone
    assert reward_functions(names, accuracy_needs_format=True) == [decided_reward, orders_reward]
    assert reward_functions(names, accuracy_needs_format=False) == [decided_reward, answered_orders_reward]


def test_no_completions_earn_no_rewards() -> None:
    assert all(reward(completions=[], task=[], preferred=[], pair_id=[]) == [] for reward in REWARDS.values())


@pytest.mark.parametrize(
    ("text", "earned"),
    [
        (RIGHT, 1.0),
        ("<answer>Image 1 is better</answer>", 1.0),  # nothing was thought
        ("<think>It is dark.</think><answer>Image 1 is better</answer>", 1.0),  # no scores
        ("It is dark.</think><answer>Image 1 is better</answer>", 1.0),  # the block was opened before the completion
        ("Well. " + RIGHT + " Thank you!", 1.0),  # text outside
        ("<answer>\nImage 1 is better.\n</answer>", 1.0),  # a full stop
        (RIGHT.replace("8=8", "8=2"), 1.0),  # against its own sums
        ("<answer>Image 2 is better</answer>", 0.0),
        ("", 0.0),
        ("Image 1 is better", 0.0),  # no block
        ("<answer>Image 1 is better", 0.0),  # cut off
        ("<answer>1 or 2</answer>", 0.0),  # hedged
        ("<answer>Image 1 is better or Image 2 is better</answer>", 0.0),
        ("<answer>Both images are equally good</answer>", 0.0),  # a thinking judge has no tie
        ("<answer>Image 1 is better</answer>" * 2, 0.0),  # repeated
        (RIGHT + "<answer>Image 2 is better</answer>", 0.0),  # one answer of each
        ("<think>Perhaps <answer>Image 1 is better</answer></think>", 0.0),  # within the reasoning alone
        ("<think><answer>Image 1 is better</answer></think><answer>Image 2 is better</answer>", 0.0),
        ("<answer>Video 1 is better</answer>", 0.0),  # another task's words
        ("</answer>Image 1 is better<answer>", 0.0),
    ],
)
def test_without_the_gate_the_one_answer_is_what_counts(text: str, earned: float) -> None:
    assert answer_reward([text], task=[TASK], preferred=["1"]) == [earned]


TIED = RIGHT.replace("(3/10)", "(8/10)").replace("3=3", "8=8")
WRONG = RIGHT.replace("8/10", "2/10").replace("8=8", "2=2").replace("Image 1 is better", "Image 2 is better")


@pytest.mark.parametrize(
    ("text", "earned"),
    [
        (RIGHT, 1.0),
        (TIED, 0.0),  # right by a guess
        (TIED.replace("Image 1 is better", "Image 2 is better"), 0.0),  # a guess, and wrong
        (WRONG, 0.0),  # decided, for the wrong candidate
        (RIGHT.replace("Image 1 is better", "Image 2 is better"), 0.0),  # wrong, against its totals
        (RIGHT.replace("8=8", "8=2"), 0.0),  # right, against its totals
        (RIGHT.replace("8=8", "8=9"), 1.0),  # a wrong sum that decides the same
        (RIGHT + " Thank you!", 0.0),  # outside the grammar
        ("<answer>Image 1 is better</answer>", 0.0),  # no totals at all
        ("", 0.0),
    ],
)
def test_a_right_answer_is_decided_by_totals_that_differ(text: str, earned: float) -> None:
    columns = {"task": [TASK], "preferred": ["1"], "pair_id": ["a"], "prompts": ["p"]}
    assert decided_reward([text], **columns) == [earned]
    assert decided_reward([text], task=[TASK], preferred=["tie"]) == [0.0]


def both_orders(*rows: tuple[str, str, str], reward: Any = orders_reward) -> list[float]:
    """What completions of (text, label, pair) earn together."""
    texts, labels, pairs = zip(*rows, strict=True) if rows else ((), (), ())
    earned: list[float] = reward(
        completions=list(texts), task=[TASK] * len(rows), preferred=list(labels), pair_id=list(pairs)
    )
    return earned


RIGHT_SWAPPED = WRONG  # of the swapped presentation, whose better candidate is the second


@pytest.mark.parametrize(
    ("rows", "earned"),
    [
        ([(RIGHT, "1", "a"), (RIGHT_SWAPPED, "2", "a")], [1.0, 1.0]),
        ([(RIGHT, "1", "a"), (RIGHT, "2", "a")], [0.0, 0.0]),  # the first candidate whatever it is
        ([(WRONG, "1", "a"), (RIGHT, "2", "a")], [0.0, 0.0]),  # the same candidate in both orders, and wrong
        ([(RIGHT, "1", "a"), (RIGHT, "1", "a"), (RIGHT_SWAPPED, "2", "a"), (RIGHT, "2", "a")], [0.5, 0.5, 1.0, 0.0]),
        ([(RIGHT, "1", "a"), (RIGHT_SWAPPED, "2", "b")], [0.0, 0.0]),  # of another pair
        ([(RIGHT, "1", "a"), (RIGHT, "1", "a")], [0.0, 0.0]),  # alone in the batch
        ([(RIGHT, "1", "a"), (RIGHT_SWAPPED + " Thank you!", "2", "a")], [0.0, 0.0]),  # right outside the grammar
        ([(RIGHT, "tie", "a"), (RIGHT_SWAPPED, "tie", "a")], [0.0, 0.0]),  # no candidate is better
        ([(RIGHT_SWAPPED, "2", "a"), (RIGHT, "1", "b"), (RIGHT, "1", "a"), (RIGHT, "2", "b")], [1.0, 0.0, 1.0, 0.0]),
    ],
)
def test_a_pair_earns_for_being_right_in_both_orders(rows: list[tuple[str, str, str]], earned: list[float]) -> None:
    assert both_orders(*rows) == earned


def test_without_the_gate_both_orders_are_read_from_the_answers() -> None:
    rows = [("<answer>Image 1 is better</answer>", "1", "a"), ("<answer>Image 2 is better</answer>", "2", "a")]
    assert both_orders(*rows) == [0.0, 0.0]
    assert both_orders(*rows, reward=answered_orders_reward) == [1.0, 1.0]


def test_both_orders_need_as_many_pair_ids_as_completions() -> None:
    with pytest.raises(ValueError, match="longer"):
        orders_reward([RIGHT, RIGHT], task=[TASK, TASK], preferred=["1", "2"], pair_id=["a"])
