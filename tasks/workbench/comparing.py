"""Two models on the same training pairs, those first on which they differ, for a person to decide which is right.

Training pairs: a vote becomes a pair to train on, and the held-out split has to stay unseen.
"""

import threading
from dataclasses import dataclass
from random import Random

from configs.schema import Settings
from models.errors import Cancelled, ConfigError
from models.evaluation.judged_rows import JudgedRow
from models.evaluation.report.cards import Card, card
from models.evaluation.report.data import Example, illustrate
from models.judging.reward_model import Outcome
from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import PreferencePair, Task, swapped_preference
from models.verdict.grammar import Mode, answer_text
from tasks.store.artifacts import Store
from tasks.workbench.feed import Emit
from tasks.workbench.model_cache import Choice, ModelCache
from tasks.workbench.pairs import newest_preferences, open_dataset, training_pairs

MOST = 24  # pairs at once
PIECE = 6  # pairs between two reports of how far it is
RANKS = ("✗ they differ", "✗ no verdict from one or both", "~ they agree, in this order alone", "✓ they agree")


@dataclass(frozen=True)
class ModelAnswer:
    """One model about one pair: its verdict, whether it holds in the other order, and its scores."""

    model: str
    outcome: Outcome
    card: Card

    @property
    def answer(self) -> str:
        """In words, of the candidates as shown."""
        if self.outcome.preferred is None:
            return f"no verdict: {(self.outcome.fault or '').replace('_', ' ')}"
        return answer_text(self.outcome.given.pair.task, self.outcome.preferred)


@dataclass(frozen=True)
class Compared:
    """A pair and the answers of both models."""

    pair: PreferencePair
    answers: tuple[ModelAnswer, ModelAnswer]

    @property
    def rank(self) -> int:
        """The place in `RANKS` of what there is to see."""
        first, second = (one.outcome for one in self.answers)
        if first.preferred is None or second.preferred is None:
            return 1
        if first.preferred != second.preferred:
            return 0
        return 3 if first.agrees and second.agrees else 2


def drawn(dataset: PreferenceDataset, task: Task | None, count: int, page: int) -> list[PreferencePair]:
    """The pairs of a page: a shuffle of the training pairs that is always the same, so that pages do not overlap.

    Raises `ConfigError` for a page beyond the last.
    """
    pairs = [pair for pair in training_pairs(dataset).values() if task is None or pair.task == task]
    Random(f"workbench/{task}").shuffle(pairs)
    chosen = pairs[page * count : (page + 1) * count]
    if not chosen:
        raise ConfigError(f"there is no page {page + 1}: {len(pairs)} training pairs make {-(-len(pairs) // count)}")
    return chosen


def compare(
    settings: Settings,
    store: Store,
    model_cache: ModelCache,
    choices: tuple[Choice, Choice],
    *,
    task: Task | None,
    mode: Mode,
    count: int,
    page: int,
    emit: Emit,
    cancelled: threading.Event,
) -> list[Compared]:
    """Both models in both orders; `emit("note", …)` reports how far it is. Raises `ConfigError`."""
    dataset = open_dataset(settings, store, newest_preferences(store))
    pairs = drawn(dataset, task, count, page)
    outcomes: list[list[Outcome]] = []
    for choice in choices:
        if cancelled.is_set():
            raise Cancelled("nobody waits for it any more")
        emit("note", f"{choice.name} is loaded …")
        with model_cache.acquire(choice) as loaded:
            model, found = loaded.reward_model(cancelled), list[Outcome]()
            for start in range(0, len(pairs), PIECE):
                emit("note", f"{choice.name} judges in both orders: {start} of {len(pairs)} pairs …")
                some = pairs[start : start + PIECE]
                found += model.judge(some, dataset.frames, [mode] * len(some))
        outcomes.append(found)
    one, other = (choice.name for choice in choices)
    rows = [
        Compared(pair, (_answer(one, pair, first, dataset), _answer(other, pair, second, dataset)))
        for pair, first, second in zip(pairs, *outcomes, strict=True)
    ]
    return sorted(rows, key=lambda row: row.rank)


def _answer(name: str, pair: PreferencePair, outcome: Outcome, dataset: PreferenceDataset) -> ModelAnswer:
    row = JudgedRow.read(pair, outcome.given.mode, False, outcome.text, outcome.given.truncated)
    (example,) = illustrate([Example(row, pair)], dataset.frames)
    return ModelAnswer(name, outcome, card(example))


def swapped_answer(outcome: Outcome) -> str:
    """The answer in the other order, of the candidates as shown."""
    if outcome.swapped is None or outcome.swapped.preferred is None:
        return "no verdict"
    return answer_text(outcome.given.pair.task, swapped_preference(outcome.swapped.preferred))
