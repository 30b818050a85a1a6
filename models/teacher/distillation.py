"""Distilling reasoning from a teacher: ask about each pair, keep what proves right, count the rest by reason.

Like the paper (section 3.2), an answer counts only if it equals the label; unlike it, the grammar must be
valid, the totals must be the sums and the answer must follow from them.

    out_dir/distilled.parquet    pair_id, task, completion: kept reasoning in the pairs' order
    out_dir/rejected.parquet     the same, and rejection: why it was not kept; for people, nothing trains on it
    out_dir/yield.json           asked, answered, kept, of these normalised, rejected by reason, re-asks, unanswered

Both depend on the answers alone, so an interrupted and resumed distillation writes the same bytes.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, overload

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import BudgetReached, DataError
from models.generation.limits import Usage
from models.pairs.dataset import PreferenceDataset
from models.pairs.preference import PreferencePair
from models.teacher.asking import AskResult
from models.teacher.session import Answers
from models.training.selection import Rejection, select
from models.verdict.prompts import Message, with_data_urls

ROWS = pa.schema([("pair_id", pa.string()), ("task", pa.string()), ("completion", pa.string())])
REJECTED_ROWS = ROWS.append(pa.field("rejection", pa.string()))
DISTILLED, REJECTED, YIELD = "distilled.parquet", "rejected.parquet", "yield.json"


class Ask(Protocol):
    """`ask_all` with endpoint, limits and store filled in."""

    def __call__(
        self,
        requests: Sequence[list[Message]],
        *,
        acceptable: Callable[[int, str], bool],
        on_answer: Callable[[int, int], None],
    ) -> AskResult:
        """Answers to every request."""


class PairRequests(Sequence[list[Message]]):
    """The thinking requests of pairs, each made when it is due: images of ten thousand pairs fill no memory."""

    def __init__(self, pairs: Sequence[PreferencePair], dataset: PreferenceDataset) -> None:
        self._pairs = pairs
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> list[Message]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[list[Message]]: ...
    def __getitem__(self, index: int | slice) -> list[Message] | Sequence[list[Message]]:
        if isinstance(index, slice):
            return PairRequests(self._pairs[index], self._dataset)
        return with_data_urls(self._pairs[index], "think", self._dataset.frames)


def published(pairs: Sequence[PreferencePair], reasoning: Mapping[str, str]) -> Ask:
    """An `Ask` that answers with the reasoning published with the pairs, by their ids; nobody is asked."""

    def ask(
        requests: Sequence[list[Message]],
        *,
        acceptable: Callable[[int, str], bool],
        on_answer: Callable[[int, int], None],
    ) -> AskResult:
        texts = [(reasoning[pair.id],) if pair.id in reasoning else () for pair in pairs]
        on_answer(len(texts), len(texts))
        return AskResult([Answers(text) for text in texts], Usage(), None)

    return ask


def distill(
    pairs: Sequence[PreferencePair],
    dataset: PreferenceDataset,
    out_dir: Path,
    *,
    ask: Ask,
    lenient: bool = True,
    on_answer: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Ask a teacher about every pair and write what is kept; gives the yield, with `usage`, `stopped` and `fields`.

    An answer outside the grammar is asked for again (as often as `ask` allows); one that is wrong is not, since
    asking until the label comes would keep lucky guesses. With `lenient`, one that states a clear verdict in another
    layout is written again in the grammar (`models.training.selection.select`) and counted as `normalised`.

    Raises what `ask` raises, `BudgetReached` if the budget allowed no answer at all, and `DataError` if none is kept.
    """

    def well_formed(index: int, text: str) -> bool:
        reason = select(text, pairs[index], lenient=lenient).rejection or ""
        return not reason.startswith("malformed:") and reason != Rejection.FRACTIONAL_SCORES

    asked = ask(PairRequests(pairs, dataset), acceptable=well_formed, on_answer=on_answer)
    if asked.stopped and not any(answers.texts for answers in asked.answers):
        raise BudgetReached(
            f"{asked.stopped}: no answer was paid for; raise distill.max_cost_usd or distill.max_requests"
        )
    kept, rejected, facts = _select(pairs, asked.answers, lenient)
    if not kept:
        raise DataError(
            f"none of {facts['answered']} answers can be kept, rejected: {facts['rejected']}; try another teacher"
        )
    pq.write_table(pa.Table.from_pylist(kept, schema=ROWS), out_dir / DISTILLED, compression="zstd")
    pq.write_table(pa.Table.from_pylist(rejected, schema=REJECTED_ROWS), out_dir / REJECTED, compression="zstd")
    (out_dir / YIELD).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return facts | {"usage": vars(asked.usage), "stopped": asked.stopped, "fields": asked.fields}


def _select(
    pairs: Sequence[PreferencePair], answers: Sequence[Answers], lenient: bool
) -> tuple[list[dict[str, str]], list[dict[str, str]], dict[str, Any]]:
    """The rows to keep, those to reject, and the yield."""
    kept: list[dict[str, str]] = []
    rejected: list[dict[str, str]] = []
    normalised = 0
    for pair, answer in zip(pairs, answers, strict=True):
        if answer.text is None:
            continue
        found = select(answer.text, pair, lenient=lenient)
        row = {"pair_id": pair.id, "task": str(pair.task), "completion": found.text}
        normalised += found.normalised
        if found.rejection is None:
            kept.append(row)
        else:
            rejected.append({**row, "rejection": found.rejection})
    answered = sum(answer.text is not None for answer in answers)
    facts = {
        "asked": len(pairs),
        "answered": answered,
        "unanswered": len(pairs) - answered,
        "kept": len(kept),
        "normalised": normalised,
        "rejected": dict(sorted(Counter(row["rejection"] for row in rejected).items())),
        "reasks": sum(max(0, len(answer.texts) - 1) for answer in answers),
    }
    return kept, rejected, facts
