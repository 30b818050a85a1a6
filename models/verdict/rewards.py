"""Rewards for GRPO in TRL's signature: pure functions of completions and dataset columns, built on the grammar.

Each returns one number between 0 and 1 a completion. A malformed or hedged answer ("1 or 2") earns nothing.

>>> from models.pairs.preference import Task
>>> accuracy_reward(completions=["Image 1 or Image 2"], task=["image_generation"], preferred=["1"])
[0.0]
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from models.pairs.preference import Task
from models.verdict.grammar import Malformed, Verdict
from models.verdict.parsing import parse_answer, parse_verdict

Completion = str | list[dict[str, Any]]
Reward = Callable[..., list[float]]


def completion_text(completion: Completion) -> str:
    """The text of a completion as TRL hands it over: plain, or one assistant message."""
    if isinstance(completion, str):
        return completion
    content = completion[0]["content"]
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)


def _verdicts(completions: Sequence[Completion], task: Sequence[str]) -> list[Verdict | Malformed]:
    return [parse_verdict(completion_text(c).strip(), Task(t)) for c, t in zip(completions, task, strict=True)]


def format_reward(completions: Sequence[Completion], task: Sequence[str], **_: object) -> list[float]:
    """1 for a completion in the verdict grammar (arXiv 2505.03318, section 3.4, format reward)."""
    return [float(isinstance(verdict, Verdict)) for verdict in _verdicts(completions, task)]


def accuracy_reward(
    completions: Sequence[Completion], task: Sequence[str], preferred: Sequence[str], **_: object
) -> list[float]:
    """1 for a valid completion whose answer is the preferred candidate (ours).

    Gated on the whole grammar: an answer block after broken reasoning earns nothing.
    """
    return [
        float(isinstance(verdict, Verdict) and str(verdict.preferred) == label)
        for verdict, label in zip(_verdicts(completions, task), preferred, strict=True)
    ]


def answer_reward(
    completions: Sequence[Completion], task: Sequence[str], preferred: Sequence[str], **_: object
) -> list[float]:
    """1 for an answer block with the preferred candidate, whatever precedes it (section 3.4, accuracy reward).

    >>> answer_reward(["Hm. <answer>Image 1 is better</answer>"], task=["image_generation"], preferred=["1"])
    [1.0]
    """
    read = [parse_answer(completion_text(c), Task(t)) for c, t in zip(completions, task, strict=True)]
    return [
        float(not isinstance(answer, Malformed) and str(answer) == label)
        for answer, label in zip(read, preferred, strict=True)
    ]


def consistency_reward(completions: Sequence[Completion], task: Sequence[str], **_: object) -> list[float]:
    """Half for sums that add up, half for an answer that follows from them (ours, not the paper's)."""
    return [
        0.5 * verdict.sums_agree + 0.5 * verdict.answer_agrees if isinstance(verdict, Verdict) else 0.0
        for verdict in _verdicts(completions, task)
    ]


def decided_reward(
    completions: Sequence[Completion], task: Sequence[str], preferred: Sequence[str], **_: object
) -> list[float]:
    """1 for a valid completion whose answer is right and follows from unequal totals (ours).

    An answer after equal totals is a guess, which reasoning does not support. Gated on being right: paid for unequal
    totals alone, a judge would learn to invent flaws where it sees none.
    """
    return [
        float(isinstance(verdict, Verdict) and str(verdict.preferred) == label and verdict.answer_agrees)
        for verdict, label in zip(_verdicts(completions, task), preferred, strict=True)
    ]


def orders_reward(
    completions: Sequence[Completion],
    task: Sequence[str],
    preferred: Sequence[str],
    pair_id: Sequence[str],
    **_: object,
) -> list[float]:
    """For a right completion (`accuracy_reward`) the share of those of the same pair swapped that are right (ours).

    See `_in_both_orders`.
    """
    return _in_both_orders(accuracy_reward(completions, task, preferred), preferred, pair_id)


def answered_orders_reward(
    completions: Sequence[Completion],
    task: Sequence[str],
    preferred: Sequence[str],
    pair_id: Sequence[str],
    **_: object,
) -> list[float]:
    """`orders_reward`, of completions that are right by `answer_reward`."""
    return _in_both_orders(answer_reward(completions, task, preferred), preferred, pair_id)


def _in_both_orders(right: Sequence[float], preferred: Sequence[str], pair_id: Sequence[str]) -> list[float]:
    """What each completion earns for a pair that is judged right in both orders; `right` holds 0 or 1 for each.

    The gradient of P(right) P(right when swapped) is that of each factor weighed by the other, which is what the policy
    gradient makes of this reward. Agreement alone would pay for the same wrong answer twice. Rows of a pair with the
    other label are the swapped presentation; without such rows in the batch nothing is earned.

    >>> _in_both_orders([1, 0, 1, 1], ["1", "1", "2", "2"], ["a"] * 4)
    [1.0, 0.0, 0.5, 0.5]
    >>> _in_both_orders([1, 1], ["1", "1"], ["a", "b"])
    [0.0, 0.0]
    """
    found: dict[str, dict[str, list[float]]] = {}
    for pair, label, one in zip(pair_id, preferred, right, strict=True):
        found.setdefault(pair, {}).setdefault(label, []).append(one)
    earned = []
    for pair, label, one in zip(pair_id, preferred, right, strict=True):
        others = [value for other, values in found[pair].items() if other != label for value in values]
        earned.append(one * sum(others) / len(others) if others else 0.0)
    return earned


def opened(reward: Reward, begun: str) -> Reward:
    """The reward of completions whose first part, `begun`, is in the prompt (`chat_template.opening`)."""
    if not begun:
        return reward

    @functools.wraps(reward)
    def of_the_whole(completions: Sequence[Completion], **columns: Any) -> list[float]:
        return reward(completions=[begun + completion_text(one) for one in completions], **columns)

    return of_the_whole


REWARDS: dict[str, Reward] = {
    "format": format_reward,
    "accuracy": accuracy_reward,
    "consistency": consistency_reward,
    "decided": decided_reward,
    "orders": orders_reward,
}


def reward_functions(names: Iterable[str], *, accuracy_needs_format: bool) -> list[Reward]:
    """The rewards of these names, with accuracy gated on the whole grammar or read from the answer alone.

    `decided` reads totals, which only the grammar has.
    """
    ungated: dict[str, Reward] = {"accuracy": answer_reward, "orders": answered_orders_reward}
    rewards = REWARDS if accuracy_needs_format else REWARDS | ungated
    return [rewards[name] for name in names]
