"""Judgments as rows: a `JudgedRow` is one answer to one pair in one presentation order, kept as Parquet."""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from models.pairs.preference import PreferencePair, Preferred, Task
from models.verdict.grammar import Malformed, Mode
from models.verdict.lenient import parse_lenient
from models.verdict.parsing import parse_verdict

REFUSED = "refused"  # begins the fault of a row that nothing was written for: an endpoint or a processor said no

_CHOICES: dict[str, Preferred] = {"1": 1, "2": 2, "tie": "tie"}
_SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("mode", pa.string(), nullable=False),
        pa.field("swapped", pa.bool_(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("preferred", pa.string()),
        pa.field("fault", pa.string(), nullable=False),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("sums_agree", pa.bool_(), nullable=False),
        pa.field("answer_agrees", pa.bool_(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True)
class JudgedRow:
    """One answer to one pair in one presentation order.

    `label` and `preferred` count the candidates as presented (after swapping, if `swapped`); `preferred` is
    `None` for a text that does not parse, and then `fault` names why and `position` (characters, else -1) where.
    `truncated` says that generation stopped at its length limit.
    """

    pair_id: str
    task: str
    group: str
    mode: Mode
    swapped: bool
    label: Preferred
    text: str
    preferred: Preferred | None
    fault: str
    position: int
    sums_agree: bool
    answer_agrees: bool
    truncated: bool

    @classmethod
    def read(
        cls, pair_presented: PreferencePair, mode: Mode, swapped: bool, text: str, truncated: bool, refused: str = ""
    ) -> Self:
        """The row for `text`, a judge's answer to a pair given in the order in which it was presented.

        `refused` is why there is no answer (`Judgment.refused`); its fault then is `refused: <why>`.
        """
        verdict = parse_verdict(text, pair_presented.task, mode=mode)
        broken = verdict if isinstance(verdict, Malformed) else None
        sound = None if isinstance(verdict, Malformed) else verdict
        return cls(
            pair_id=pair_presented.id,
            task=str(pair_presented.task),
            group=pair_presented.group,
            mode=mode,
            swapped=swapped,
            label=pair_presented.preferred,
            text=text,
            preferred=sound.preferred if sound else None,
            fault=f"{REFUSED}: {refused}" if refused else str(broken.reason) if broken else "",
            position=broken.position if broken and not refused else -1,
            sums_agree=sound is not None and sound.sums_agree,
            answer_agrees=sound is not None and sound.answer_agrees,
            truncated=truncated,
        )

    @property
    def parsed(self) -> bool:
        """Whether the text is a verdict at all."""
        return self.preferred is not None

    @cached_property
    def lenient(self) -> Preferred | None:
        """What the text prefers by a lenient reading (`models.verdict.lenient`), which has all that the grammar reads.

        `None` where no reading finds a clear answer.
        """
        if self.preferred is not None or self.task not in set(Task):
            return self.preferred
        verdict = parse_lenient(self.text, Task(self.task), mode=self.mode)
        return None if isinstance(verdict, Malformed) else verdict.preferred

    @cached_property
    def totals_tie(self) -> bool:
        """Whether both totals are equal as written: the scores decide nothing, and the answer is a coin."""
        if self.mode != "think" or self.task not in set(Task):
            return False
        verdict = parse_verdict(self.text, Task(self.task), mode=self.mode)
        if isinstance(verdict, Malformed) or verdict.totals is None:
            return False
        first, second = (total.value for total in verdict.totals)
        return first == second

    @property
    def refused(self) -> bool:
        """Whether nothing was written, since an endpoint or a processor refused the request."""
        return self.fault.startswith(REFUSED)

    @property
    def right(self) -> bool:
        """Whether the answer is the label. An unparsed text is wrong, and so is a tie where the label is none."""
        return self.preferred == self.label


def write_rows(path: Path, rows: Iterable[JudgedRow]) -> None:
    """Write rows as Parquet, aside and then into place. Rows are sorted, so equal rows give equal bytes."""
    ordered = sorted(rows, key=lambda row: (row.task, row.pair_id, row.mode, row.swapped, row.text))
    plain = [
        {**asdict(row), "label": str(row.label), "preferred": row.preferred and str(row.preferred)} for row in ordered
    ]
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(plain, schema=_SCHEMA), aside, compression="zstd")
    aside.replace(path)


def read_rows(path: Path) -> list[JudgedRow]:
    """The rows that `write_rows` wrote, in their sorted order."""
    table = pq.read_table(path, columns=[field.name for field in fields(JudgedRow)])
    return [
        JudgedRow(**{**row, "label": _CHOICES[row["label"]], "preferred": _CHOICES.get(row["preferred"])})
        for row in table.to_pylist()
    ]
